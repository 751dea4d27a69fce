// The programs of native/bpf/redirect.c: loaded, told what to do, read.
import {
  type Counter,
  type RedirectDirection,
  TO_GUEST,
  TO_LINK,
  addressKeys,
  addressOfKey,
  decodeCounter,
  decodeDirection,
  encodeDirection,
  indexKey,
  redirectCounters,
} from '../wire/bpf/redirect.js';
import { NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL } from '../wire/message.js';
import { RTM_NEWTFILTER, encodeFilter } from '../wire/tc.js';
import { type BpfMap, type BpfProgram, attachTcx, loadObject, openProgram, ownMap } from './bpf.js';
import { request } from './netlink.js';
import { type Scope, attachment } from './netns.js';
import { redirect } from './programs/redirect.js';

export interface RedirectConfig {
  /** The ifindex of the pod's interface; 0: what the guest sends goes nowhere. */
  readonly link: number;
  /** Of the TAP; 0: what comes in goes to the pod. */
  readonly tap: number;
  /**
   * Default true: while the TAP is down, or nobody holds it, what comes in goes to the pod, not only once it is gone. A qdisc on the TAP
   * that drops with NET_XMIT_CN (fq_codel, tbf's) looks the same when it is full: with one of these say false.
   */
  readonly fallBackIfDown?: boolean;
  /** Where the guest may send from; absent: from anywhere. */
  readonly source?: GuestSource;
}

/** What the guest's frames must have for their source, in ARP and neighbour discovery too; the others go nowhere. */
export interface GuestSource {
  readonly mac: string;
  /** Both families, link-local ones too, without prefix lengths. '0.0.0.0' lets DHCP through. */
  readonly addresses: readonly string[];
  /** Default false: link-local addresses are like others. A guest that makes its own needs true, and can then take those of its neighbours. */
  readonly anyLinkLocal?: boolean;
  /** Default false: router advertisements and redirects are dropped. */
  readonly router?: boolean;
}

export type RedirectStatistics = Readonly<Record<(typeof redirectCounters)[number], Counter>>;

/** `toGuest` belongs on the pod's interface, `toLink` on the TAP, on ingress each: on tcx, or in a filter of cls_bpf with direct action. */
export class Redirect implements AsyncDisposable {
  readonly #maps: Readonly<Record<string, BpfMap>>;

  constructor(
    readonly toGuest: BpfProgram | undefined,
    readonly toLink: BpfProgram | undefined,
    maps: Readonly<Record<string, BpfMap>>,
  ) {
    this.#maps = maps;
  }

  /** Takes effect at once, for all that are attached. */
  async configure({ link, tap, fallBackIfDown = true, source }: RedirectConfig): Promise<void> {
    const none = { fallBackIfDown: false, anyLinkLocal: false, router: false };
    // Before the check is turned on, so that what is allowed is never dropped.
    if (source !== undefined) await this.#allow(source.addresses);
    const toLink: RedirectDirection = {
      ...none,
      ifindex: link,
      ...(source !== undefined && { mac: source.mac, anyLinkLocal: source.anyLinkLocal ?? false, router: source.router ?? false }),
    };
    await this.#map('configs').set([
      [indexKey(TO_LINK), encodeDirection(toLink)],
      [indexKey(TO_GUEST), encodeDirection({ ...none, ifindex: tap, fallBackIfDown })],
    ]);
  }

  /** The configuration without the source, which only the TAP's program can tell. */
  async targets(): Promise<Omit<RedirectConfig, 'source'>> {
    const [toGuest, toLink] = (await this.#map('configs').get([indexKey(TO_GUEST), indexKey(TO_LINK)])).map((value) =>
      decodeDirection(value!),
    );
    return { link: toLink!.ifindex, tap: toGuest!.ifindex, fallBackIfDown: toGuest!.fallBackIfDown };
  }

  async configuration(): Promise<RedirectConfig> {
    const [toGuest, toLink] = (await this.#map('configs').get([indexKey(TO_GUEST), indexKey(TO_LINK)])).map((value) =>
      decodeDirection(value!),
    );
    const { ifindex: link, mac, anyLinkLocal, router } = toLink!;
    const { ifindex: tap, fallBackIfDown } = toGuest!;
    const addresses = (await Promise.all(['sources4', 'sources6'].map((name) => this.#map(name).entries())))
      .flatMap((entries) => entries.map(([key]) => addressOfKey(key)))
      .sort();
    return { link, tap, fallBackIfDown, ...(mac !== undefined && { source: { mac, addresses, anyLinkLocal, router } }) };
  }

  async statistics(): Promise<RedirectStatistics> {
    const values = await this.#map('counters').get(redirectCounters.map((_, index) => indexKey(index)));
    return Object.fromEntries(redirectCounters.map((name, index) => [name, decodeCounter(values[index]!)])) as RedirectStatistics;
  }

  async close(): Promise<void> {
    for (const handle of [this.toGuest, this.toLink, ...Object.values(this.#maps)]) await handle?.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #allow(addresses: readonly string[]): Promise<void> {
    const { ipv4, ipv6 } = addressKeys(addresses);
    for (const [name, keys] of [
      ['sources4', ipv4],
      ['sources6', ipv6],
    ] as const) {
      // prettier-ignore
      const map = this.#map(name);
      const wanted = new Set(keys.map(String));
      await map.set(keys.map((key) => [key, Uint8Array.of(1)]));
      await map.delete((await map.entries()).map(([key]) => key).filter((key) => !wanted.has(String(key))));
    }
  }

  #map(name: string): BpfMap {
    return ownMap(this.#maps, name);
  }
}

/** @throws BpfLoadError; PodtapError EPERM; UnsupportedError */
export async function loadRedirect(config: RedirectConfig): Promise<Redirect> {
  const { programs, maps } = await loadObject(redirect);
  const loaded = new Redirect(programs.podtap_to_guest, programs.podtap_to_link, maps);
  try {
    await loaded.configure(config);
    return loaded;
  } catch (error) {
    await loaded.close();
    throw error;
  }
}

/** Where the programs go: interfaces by their indexes. */
export interface RedirectAttachment {
  readonly link: number;
  readonly tap: number;
  readonly hook: 'tcx' | 'filter';
  /** How the one on the interface stands to others'. */
  readonly order: 'first' | 'last';
  /** Of filters on the interface: ingress qdiscs are there on both. */
  readonly parent?: string;
  readonly priority?: number;
  readonly source?: GuestSource;
}

/** Of the filter on the TAP, where nobody else has any, but what localhost puts ahead of it. */
const TAP_PRIORITY = 16;

/**
 * Loads the programs, and attaches them for good: they stay when this process ends, and hold their maps. The TAP's first, so that nothing
 * goes to the guest that it could not answer.
 * @throws as loadRedirect and attachTcx; NetlinkError
 */
export async function attachRedirect(scope: Scope, where: RedirectAttachment): Promise<void> {
  const { link, tap, hook, order, parent = 'ffff:', priority = 1, source } = where;
  await using redirect = await loadRedirect({ link, tap, ...(source !== undefined && { source }) });
  const programs = [
    { ifindex: tap, program: redirect.toLink!, name: 'podtap_to_link', parent: 'ffff:', priority: TAP_PRIORITY, settings: {} },
    { ifindex: link, program: redirect.toGuest!, name: 'podtap_to_guest', parent, priority, settings: { order } },
  ];
  for (const { ifindex, program, name, settings, ...place } of programs) {
    if (hook === 'tcx') {
      await attachTcx(scope, { ifindex, direction: 'ingress' }, program, settings);
      continue;
    }
    const options = { fd: program.fd, name, directAction: true };
    const filter = { ...place, ifindex, protocol: 'all', handle: '0x1', kind: 'bpf', options };
    await request(attachment(scope).socket, [encodeFilter(RTM_NEWTFILTER, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, filter)]);
  }
}

/**
 * By the ids of programs that are attached somewhere (the hook's or the filter's), to be read and configured; without that for the TAP
 * the source cannot be told. undefined where one is not of these programs.
 * @throws PodtapError ENOENT: there is no such program
 */
export async function openRedirect(...ids: readonly number[]): Promise<Redirect | undefined> {
  const programs: Record<string, BpfProgram> = {};
  const maps: Record<string, BpfMap> = {};
  const opened = (): Redirect => new Redirect(programs.podtap_to_guest, programs.podtap_to_link, maps);
  try {
    for (const id of ids) {
      const program = await openProgram(id);
      const { name } = await program.info();
      if (!Object.hasOwn(redirect.programs, name)) {
        await program.close();
        await opened().close();
        return undefined;
      }
      programs[name] = program;
      for (const [map, handle] of Object.entries(await program.openMaps())) {
        await maps[map]?.close();
        maps[map] = handle;
      }
    }
    return opened();
  } catch (error) {
    await opened().close();
    throw error;
  }
}
