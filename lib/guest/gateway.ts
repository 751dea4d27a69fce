// Stacks that refuse a gateway outside of their subnet, and what can be told to them all the same.
import { oneOf, optional } from '../check.js';
import { commonBits, contains, networkOf } from './prefix.js';
import { type Report, isOffSubnet } from './report.js';

export interface OffSubnetOptions {
  /**
   * Of a gateway outside of the subnet (172.17.0.5/32 with 169.254.1.1), which this guest refuses. 'refuse' (default): a GuestConfigError.
   * 'widen': the shortest prefix that has both is told instead; the guest then looks for all of it on the link, and the host must answer
   * ARP for it (proxy_arp); impossible where it would take in loopback or multicast addresses, as for 10.0.0.0/8 and 192.168.0.0/16 with
   * 169.254.1.1. 'omit': no gateway is told; something in the guest sets the route.
   */
  readonly offSubnetGateway?: 'refuse' | 'widen' | 'omit';
}

export const offSubnetEntries = { offSubnetGateway: optional(oneOf('refuse', 'widen', 'omit')) };

/** "This network", loopback, multicast and reserved addresses: RFC 6890. */
const special = ['0.0.0.0/8', '127.0.0.0/8', '224.0.0.0/3'];

/** An IPv4 address and its gateway, as a guest is told them that refuses gateways outside of the subnet. */
export function fitGateway(
  report: Report,
  own: { readonly address: string; readonly length: number },
  gateway: string | undefined,
  choice: OffSubnetOptions['offSubnetGateway'] = 'refuse',
): { readonly length: number; readonly gateway?: string } {
  const { address, length } = own;
  if (gateway === undefined) return { length };
  if (!isOffSubnet(gateway, [`${address}/${length}`])) return { length, gateway };
  const trouble = `the gateway ${gateway} is outside of ${networkOf(`${address}/${length}`)}, and the guest refuses that`;
  if (choice === 'omit') {
    report.note('gateway.ipv4', `${gateway}: ${trouble}; something in the guest must set the route`);
    return { length };
  }
  const wide = coveringLength(address, gateway);
  const alternatives =
    "tell it a gateway inside of the subnet for which the host answers ARP, or nothing (offSubnetGateway: 'omit') and set the route in the guest";
  if (choice === 'refuse') {
    const widening = wide === undefined ? '' : `, or /${wide} if the host answers ARP for all of that (offSubnetGateway: 'widen')`;
    throw report.error('gateway.ipv4', `${report.guest}: ${trouble}; ${alternatives}${widening}`);
  }
  if (wide === undefined)
    throw report.error('gateway.ipv4', `${report.guest}: ${trouble}; a prefix that has ${address} and ${gateway} would take in loopback, multicast or reserved addresses: ${alternatives}`); // prettier-ignore
  report.note('addresses', `${address}/${length} is told as /${wide}: the host must answer ARP for all of ${networkOf(`${address}/${wide}`)}`); // prettier-ignore
  return { length: wide, gateway };
}

/** The longest prefix that has both, and neither as its first or last address; undefined where it would have what is no unicast address. */
function coveringLength(address: string, gateway: string): number | undefined {
  let length = Math.min(30, commonBits(address, gateway));
  while (length > 0 && [address, gateway].some((one) => isEdge(one, length))) length--;
  if (length === 0) return undefined;
  const wide = networkOf(`${address}/${length}`);
  const [first] = wide.split('/') as [string];
  const overlaps = special.some((range) => contains(range, first) || contains(wide, range.split('/')[0]!));
  return overlaps ? undefined : length;
}

/** Whether it is the network's own address or its broadcast address. */
function isEdge(address: string, length: number): boolean {
  const bits = address.split('.').reduce((sum, octet) => sum * 256 + Number(octet), 0);
  const hosts = 2 ** (32 - length);
  return bits % hosts === 0 || bits % hosts === hosts - 1;
}
