// Whose a plumbing is, and until when: await using, keep, other handles, other processes, a namespace that is gone.
import { readdirSync } from 'node:fs';
import { Netns, getLink, inspect, listAddresses, openPlumbing, plumb, recover, setSysctl, createVeth, unplumb } from 'podtap';
import t from 'tap';
import { native } from '../../lib/native.js';
import { again, until } from '../support/inside.js';
import { createNode } from '../support/pod.js';

const entries = (): string[] => readdirSync('/run/podtap').filter((file) => file.endsWith('.entry'));

await t.test('the end of its scope undoes it', async (t) => {
  const pod = await (await createNode(t)).pod(2);
  const before = native().openDescriptors();
  {
    await using net = await plumb(pod);
    t.match(net, { created: true, kept: false, mode: 'redirect' });
    t.not(await getLink(pod, net.tap.name), undefined);
  }
  t.same((await inspect(pod)).plumbings, []);
  t.match(await listAddresses(pod, { link: 'eth0', family: 'ipv4' }), [{ address: '10.1.0.2/16' }]);
  t.same(entries(), []);
  t.equal(native().openDescriptors(), before);
});

await t.test('so does an error in it', async (t) => {
  const pod = await (await createNode(t)).pod(2);
  const failing = async (): Promise<void> => {
    await using net = await plumb(pod);
    await net.tap.send([]); // held, as by a guest of ours
    throw new Error('the monitor did not start');
  };
  await t.rejects(failing(), { message: 'the monitor did not start' });
  t.same((await inspect(pod)).plumbings, []);
  t.same(entries(), []);
});

await t.test('one that is kept stays, and holds nothing', async (t) => {
  const pod = await (await createNode(t)).pod(2);
  const before = native().openDescriptors();
  const keep = async () => {
    await using net = await plumb(pod, { label: 'vm/1' });
    return net.keep();
  };
  const net = await keep();
  t.equal(net.kept, true);
  t.equal(native().openDescriptors(), before);
  t.match(await net.verify({ traffic: true }), { ok: true, toGuest: 'crossed', fromGuest: 'crossed' });
  t.match(JSON.parse(JSON.stringify(net)), { label: 'vm/1', mode: 'redirect', kept: true, guest: { addresses: [{ address: '10.1.0.2/16' }, { address: 'fd00:1::2/64' }] } }); // prettier-ignore
  t.equal(native().openDescriptors(), before, 'nor does it after a call');
  t.match(await net.undo(), { state: 'undone', leftBehind: [] });
  t.same(entries(), []);
});

await t.test('its own handle on the namespace lasts until it is kept or disposed of', async (t) => {
  const node = await createNode(t);
  const pod = await Netns.create();
  await createVeth(node.netns, 'veth9', { master: 'cni0', up: true, peer: { scope: pod, name: 'eth0', addresses: ['10.1.0.9/16'], up: true } }); // prettier-ignore
  const net = await plumb(pod, { label: 'vm/1' });
  const other = await again(t, pod);
  await pod.close();
  t.match(await net.verify(), { ok: true }, 'by its own handle');
  net.keep();
  t.match(await net.verify(), { ok: true }, 'found again by the descriptor of another handle');
  t.match(await net.tap.holders(), []);
  await other.close();
  t.ok(await until(async () => (await getLink(node.netns, 'veth9')) === undefined), 'nothing holds the namespace any more');
  for (const call of [
    () => net.verify(),
    () => net.repair(),
    () => net.tap.send([]),
    () => net.tap.waitAttached(),
  ] as (() => Promise<unknown>)[])
    await t.rejects(call(), { code: 'ERR_NETNS_GONE' });
  const events = [];
  for await (const event of net.events()) events.push(event);
  t.same(events, [{ type: 'gone' }]);
  t.same(await net.undo(), { state: 'namespace-gone', leftBehind: [] });
  t.same(await net.undo(), { state: 'already-undone', leftBehind: [] });
  t.same(entries(), []);
});

await t.test('one that was there already is not undone at the end of the scope', async (t) => {
  const pod = await (await createNode(t)).pod(2);
  const first = await plumb(pod, { label: 'vm/1' });
  {
    await using second = await plumb(pod, { label: 'vm/1' });
    t.match(second, { created: false, label: 'vm/1' });
    t.same(second.guest, first.guest);
    await using third = (await openPlumbing(pod, { label: 'vm/1' }))!;
    t.match(third, { created: false, label: 'vm/1' });
    t.same(third.guest, first.guest);
    await third.tap.send([]);
  }
  t.same(await first.tap.holders(), [], 'what the third one held is closed with it');
  t.match(await first.verify(), { ok: true });
  t.match(await unplumb({ label: 'vm/1' }), { state: 'undone' });
  t.match(await first.undo(), { state: 'already-undone' });
  t.equal(await openPlumbing(pod), undefined);
});

await t.test('a namespace that was deleted is dropped by recover', async (t) => {
  const node = await createNode(t);
  const pod = await Netns.create();
  await setSysctl(pod, 'net.ipv6.conf.default.accept_dad', 0);
  await createVeth(node.netns, 'veth9', { master: 'cni0', up: true, peer: { scope: pod, name: 'eth0', addresses: ['10.1.0.9/16'], up: true } }); // prettier-ignore
  (await plumb(pod, { label: 'vm/1' })).keep();
  const kept = await node.pod(3);
  const net = await plumb(kept, { label: 'vm/2' });
  await pod.close();
  t.ok(await until(async () => (await getLink(node.netns, 'veth9')) === undefined));
  const report = await recover();
  t.match(report, { undone: [], kept: [{ label: 'vm/2' }], busy: [], dropped: [{ label: 'vm/1' }], unreadable: [] });
  t.match(await recover({ finished: 'undo', label: /^vm\// }), { undone: [{ label: 'vm/2' }], kept: [], dropped: [] });
  t.match(await net.undo(), { state: 'already-undone' });
});
