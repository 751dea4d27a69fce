// nft_fib(): what the routing tables say of an address of the packet.
import { NetlinkError } from '../../errors.js';
import type { Frame } from '../../wire/frame.js';
import { ifname } from '../../wire/nft/data.js';
import { host32 } from './datum.js';
import type { Beside } from '../hop.js';
import { ask } from '../look-up.js';
import type { Asked } from '../nft.js';

/** RTN_*: uapi/linux/rtnetlink.h. */
const types: Readonly<Record<string, number>> = { unicast: 1, local: 2, broadcast: 3, anycast: 4, multicast: 5, blackhole: 6, unreachable: 7, prohibit: 8 }; // prettier-ignore

export interface FibQuestion {
  readonly result?: string | undefined;
  readonly flags?: readonly string[] | undefined;
}

/** What the register has then; or why that cannot be told. */
export async function fib(
  { space, iif, oif }: Asked,
  { packet }: Frame,
  { mark }: Beside,
  { result = 'type', flags = [] }: FibQuestion,
): Promise<Uint8Array | string> {
  // prettier-ignore
  if (packet === undefined) return 'an address, which the frame has not';
  const address = flags.includes('saddr') ? packet.source : packet.destination;
  const device = flags.includes('iif') ? iif : flags.includes('oif') ? oif : undefined;
  const route = await ask(space, address, {
    ...(device !== undefined && { oif: device.ifindex }),
    ...(flags.includes('mark') && mark !== undefined && { mark }),
  }).catch((error: unknown) => {
    if (error instanceof NetlinkError) return undefined;
    throw error;
  });
  const present = flags.includes('present');
  if (result === 'type') {
    // inet_dev_addr_type() looks into the local table alone: what is not there is of somebody else.
    const type = route?.type ?? 'unicast';
    return host32(types[['local', 'broadcast', 'multicast', 'anycast'].includes(type) ? type : 'unicast']!);
  }
  const found = typeof route?.dev === 'number' && (device === undefined || route.dev === device.ifindex) ? route.dev : undefined;
  if (present) return Uint8Array.of(found === undefined ? 0 : 1);
  if (result === 'oif') return host32(found ?? 0);
  return ifname(found === undefined ? '' : ((await space.link(found))?.name ?? ''));
}
