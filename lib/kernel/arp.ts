// Who has an address, asked on the wire: what a stack that has no address there, or whose table is old, cannot tell.
import { BROADCAST, ETH_P_ARP, decodeFrame, encodeFrame } from '../wire/frame.js';
import type { Scope } from './netns.js';
import { type BpfInstruction, PacketSocket } from './packet.js';

export interface ArpQuestion {
  readonly address: string;
  /** In whose name: that one gets the answer, too. IPv4, without a prefix length. */
  readonly sender: { readonly mac: string; readonly address: string };
}

const AGAIN = 200; // milliseconds
/** Who answers later than the first one: a second router, or an impostor. Milliseconds. */
const OTHERS = 50;

/** ldh [12]; jne ARP, 3; ldh [20]; jne reply, 1; ret 65535; ret 0 */
const replies: readonly BpfInstruction[] = [[0x28, 0, 0, 12], [0x15, 0, 3, ETH_P_ARP], [0x28, 0, 0, 20], [0x15, 0, 1, 2], [0x06, 0, 0, 0xffff], [0x06, 0, 0, 0]]; // prettier-ignore

/**
 * The MACs that answer for it: of several, all that answer within a moment, each once. Empty: nobody did in so many milliseconds. RFC 826.
 * Whatever takes the frames from the stack (a bridge, filters that redirect), the answers are seen before it.
 */
export async function askArp(
  scope: Scope,
  ifindex: number,
  { address, sender }: ArpQuestion,
  patience: number,
): Promise<readonly string[]> {
  await using socket = await PacketSocket.open(scope, ifindex, { filter: replies, outgoing: false });
  const target = { mac: '00:00:00:00:00:00', address };
  const question = encodeFrame({ source: sender.mac, destination: BROADCAST, type: ETH_P_ARP, arp: { operation: 'request', sender, target } }); // prettier-ignore
  const found = new Set<string>();
  const stop = new AbortController();
  let ending = setTimeout(() => stop.abort(), patience);
  // Nothing may be sent through an interface that is down: nobody answers then.
  const ask = (): void => void socket.send([question]).catch(() => 0);
  const asking = setInterval(ask, AGAIN);
  ask();
  try {
    for await (const batch of socket.frames({ signal: stop.signal }))
      for (const frame of batch) {
        const answer = decodeFrame(frame)?.arp?.sender;
        if (answer?.address !== address) continue;
        if (found.size === 0) {
          clearTimeout(ending);
          clearInterval(asking);
          ending = setTimeout(() => stop.abort(), OTHERS);
        }
        found.add(answer.mac);
      }
  } finally {
    clearTimeout(ending);
    clearInterval(asking);
  }
  return [...found];
}
