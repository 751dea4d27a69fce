/** What a guest can be left without, if the caller says so: the words of a renderer's option `without`. */
export type Loss = 'ipv4' | 'ipv6' | 'addresses' | 'gateway' | 'routes' | 'mtu';

/**
 * A guest cannot be told a part of its network's configuration in its own language. The message says what it is, and what can be done;
 * where the guest can do without, `loss` is the word for the option `without`.
 */
export class GuestConfigError extends Error {
  override readonly name = 'GuestConfigError';
  readonly code = 'ERR_GUEST_CONFIG';
  /** The renderer: 'linuxCmdline', 'rumprun', ... */
  readonly guest: string;
  /** Of the GuestNetwork, or of the renderer's options: 'gateway.ipv4', 'addresses', 'mtu', ... */
  readonly field: string;
  readonly loss?: Loss;

  constructor(message: string, details: { guest: string; field: string; loss?: Loss | undefined }) {
    super(message);
    this.guest = details.guest;
    this.field = details.field;
    if (details.loss !== undefined) this.loss = details.loss;
  }
}
