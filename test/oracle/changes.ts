// Changes of all three sorts: several requests in one batch, a sysctl, a TAP, and a batch again. And how many of them are there.
import { type Netns, listAddresses, listLinks, readSysctl } from 'podtap';
import { run } from '../../lib/operation/run.js';
import type { Operation } from '../../lib/operation/kinds.js';

const address = (text: string): Operation => ({ op: 'address.add', link: 1, address: { address: text } });
const operations: readonly Operation[] = [
  ...['10.0.0.0/32', '10.0.0.1/32', '10.0.0.2/32'].map(address),
  { op: 'sysctl.set', key: 'net.ipv4.ip_forward', value: '1' },
  { op: 'tap.create', name: 'tap0', persist: true, queues: 1, vnetHdr: false, offload: {} },
  ...['10.0.0.3/32', '10.0.0.4/32'].map(address),
];

export async function changeEverything(netns: Netns): Promise<void> {
  await run(netns, 'changeEverything', operations);
}

/** As bits, in their order: '1110000' after the first three. */
export async function changed(netns: Netns): Promise<string> {
  const addresses = (await listAddresses(netns)).map(({ address: text }) => text);
  const has = async (operation: Operation): Promise<boolean> => {
    if (operation.op === 'address.add') return addresses.includes(operation.address.address);
    if (operation.op === 'sysctl.set') return (await readSysctl(netns, operation.key)) === operation.value;
    return (await listLinks(netns)).some(({ name }) => name === 'tap0');
  };
  return (await Promise.all(operations.map(has))).map(Number).join('');
}
