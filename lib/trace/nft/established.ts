// NAT of a connection that is there already: its chains are not asked again, the table of connections says what becomes of a packet.
import { NetlinkError, UnsupportedError } from '../../errors.js';
import type { Connection, ConnectionTuple } from '../../kernel/conntrack.js';
import { ETH_P_IPV6, type Frame, type Packet } from '../../wire/frame.js';
import { changesOf, tellEnd } from '../changes.js';
import type { Trail } from '../hop.js';
import type { Asked } from '../nft.js';
import type { Base } from './ruleset.js';

/** At one hook: of what leaves the source is changed, of what comes the destination (nf_nat_packet()). */
export class Established {
  done = false;

  constructor(
    readonly asked: Asked,
    readonly manip: 'source' | 'destination',
  ) {}

  /** Once; `trail` tells what connection tracking saw. */
  async translate(frame: Frame, trail: Trail): Promise<{ readonly frame: Frame; readonly trail: Trail }> {
    this.done = true;
    const { original, untracked } = trail.beside;
    const chains = await this.#chains(frame);
    if (untracked === true || original === undefined || chains.length === 0) return { frame, trail };
    const tuple = tupleOf(original);
    const doubt = (why: string): { readonly frame: Frame; readonly trail: Trail } => {
      if (chains.every(({ use = 0 }) => use === 0)) return { frame, trail };
      const text = `here NAT in ${this.asked.space.name} decides, whose chains were asked when the connection began: ${why}`;
      return { frame, trail: trail.doubt({ namespace: this.asked.space.name, text }) };
    };
    if (tuple === undefined) return doubt('without both ports it is not known which one it is in the table of connections');
    let connection: Connection | undefined;
    try {
      connection = await this.asked.space.connection(tuple);
    } catch (error) {
      if (error instanceof UnsupportedError || error instanceof NetlinkError) return doubt(error.message);
      throw error;
    }
    const words = tellTuple(tuple);
    if (connection === undefined) return doubt(`the table of connections has none of ${words}`);
    const changed = this.#change(frame, isSame(connection.original, tuple) ? connection.reply : connection.original);
    if (changed === frame) return { frame, trail };
    const text = `table of connections of ${this.asked.space.name}: ${words} belongs to ${tellTuple(connection.original)}, answered by ${tellTuple(connection.reply)}: ${changesOf(frame, changed)}`; // prettier-ignore
    return { frame: changed, trail: trail.decide({ by: 'connection', connection, text }) };
  }

  /** NAT sits on all four hooks of a family once one of them has a chain. */
  async #chains({ type }: Frame): Promise<readonly Base[]> {
    const families = ['inet', type === ETH_P_IPV6 ? 'ip6' : 'ip'];
    return (await this.asked.space.ruleset.bases()).filter((base) => base.type === 'nat' && families.includes(base.family));
  }

  /** To the other end of what goes the other way. */
  #change(frame: Frame, other: ConnectionTuple): Frame {
    const { manip } = this;
    const packet = frame.packet!;
    const opposite = manip === 'source' ? 'destination' : 'source';
    const [address, port] = [other[opposite], other.ports[opposite]];
    if (packet[manip] === address && packet.ports?.[manip] === port) return frame;
    return { ...frame, packet: { ...packet, [manip]: address, ports: { ...packet.ports!, [manip]: port } } };
  }
}

/** undefined: it is not told whole. */
function tupleOf({ protocol, source, destination, ports }: Packet): ConnectionTuple | undefined {
  if ((protocol !== 'tcp' && protocol !== 'udp') || ports === undefined || ports.source === 0) return undefined;
  return { protocol, source, destination, ports };
}

function isSame(a: ConnectionTuple, b: ConnectionTuple): boolean {
  return tellTuple(a) === tellTuple(b);
}

function tellTuple({ protocol, source, destination, ports }: ConnectionTuple): string {
  return `${protocol.toUpperCase()} ${tellEnd(source, ports.source)} to ${tellEnd(destination, ports.destination)}`;
}
