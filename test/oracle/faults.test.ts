import t from 'tap';
import { NetlinkError, Netns, PodtapError, listLinks } from 'podtap';
import { gate } from '../../lib/kernel/gate.js';
import { requires } from '../support/requires.js';
import { changeEverything, changed } from './changes.js';
import { requestsOf, runWithFaults, withFaults } from './faults.js';

const all = ['RTM_NEWADDR', 'RTM_NEWADDR', 'RTM_NEWADDR', 'write net.ipv4.ip_forward', 'TUNSETIFF tap0', 'RTM_NEWADDR', 'RTM_NEWADDR'];
const firstOf = (count: number): string => '1'.repeat(count).padEnd(all.length, '0');

await t.test('the requests of some work, in order', { skip: requires('tun') }, async (t) => {
  await using netns = await Netns.create();
  t.strictSame(await requestsOf(() => changeEverything(netns)), all);
  t.equal(await changed(netns), firstOf(all.length));
  t.strictSame(await requestsOf(() => listLinks(netns)), []);
  t.strictSame(await requestsOf(() => listLinks(netns), () => true), ['RTM_GETLINK']); // prettier-ignore
});

await t.test('refused: not executed, and so told; what stands before it was done', { skip: requires('tun') }, async (t) => {
  for (const [at, request] of all.entries()) {
    await using netns = await Netns.create();
    const { error, requests, hit } = await withFaults([{ at, how: 'refused' }], () => changeEverything(netns));
    t.strictSame(hit, [request]);
    t.strictSame(requests, all.slice(0, at + 1));
    t.equal(await changed(netns), firstOf(at), request);
    t.type(error, request.startsWith('RTM_') ? NetlinkError : PodtapError);
    t.match(error, { code: 'ENOMEM', errno: -12 });
    t.notMatch(error, { message: /outcome/ });
  }
});

await t.test('lost: executed, and nobody knows', { skip: requires('tun') }, async (t) => {
  for (const [at, request] of all.entries()) {
    await using netns = await Netns.create();
    const { error, hit } = await withFaults([{ at, how: 'lost' }], () => changeEverything(netns));
    t.strictSame(hit, [request]);
    t.equal(await changed(netns), firstOf(at + 1), request);
    t.match(error, { code: 'ENOBUFS', errno: -105 });
    if (request.startsWith('RTM_')) t.match(error, { name: 'NetlinkError', message: /outcome is not known/ });
  }
});

await t.test('killed: exactly the first n are executed', { skip: requires('tun') }, async (t) => {
  for (const at of [...all.keys(), all.length]) {
    await using netns = await Netns.create();
    const { code, signal, stderr } = await runWithFaults('oracle/faults.fixture.js', [netns.path!], [{ at, how: 'killed' }]);
    t.strictSame({ code, signal, stderr }, { code: at < all.length ? null : 0, signal: at < all.length ? 'SIGKILL' : null, stderr: '' });
    t.equal(await changed(netns), firstOf(at), all[at] ?? 'nothing');
  }
});

await t.test('which request of a batch failed', async (t) => {
  await using netns = await Netns.create();
  const { error } = await withFaults([{ at: 2, how: 'refused', errno: 1 }], () => changeEverything(netns));
  t.match(error, { code: 'EPERM', index: 2, syscall: 'RTM_NEWADDR' });
});

await t.test('several faults, and reads', { skip: requires('tun') }, async (t) => {
  await using netns = await Netns.create();
  const faults = [{ at: 0, how: 'refused' }, { at: 2, how: 'lost' }] as const; // prettier-ignore
  const twice = async (): Promise<void> => {
    await t.rejects(changeEverything(netns), { code: 'ENOMEM' });
    await t.rejects(changeEverything(netns), { code: 'ENOBUFS' });
  };
  const { hit, error } = await withFaults(faults, twice);
  t.equal(error, undefined);
  t.equal(hit.length, 2);
  t.equal(await changed(netns), firstOf(2));
  const reading = await withFaults([{ at: 0, how: 'lost' }], () => listLinks(netns), () => true); // prettier-ignore
  t.match(reading.error, { code: 'ENOBUFS' });
});

await t.test('afterwards there is no gate', async (t) => {
  await using netns = await Netns.create();
  await withFaults([{ at: 0, how: 'refused' }], () => changeEverything(netns));
  t.equal(gate, undefined);
});
