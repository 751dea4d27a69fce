// Maps, programs and their places, by bpf(2), which wants real root.
import { mkdirSync } from 'node:fs';
import { spawnSync } from 'node:child_process';
import { BpfLoadError, type Netns, checkHost, createVeth, getLink } from 'podtap';
import t, { type Test } from 'tap';
import {
  BpfLink,
  BpfMap,
  BpfProgram,
  type TcxOrder,
  attachTcx,
  createMap,
  detachTcx,
  enableStatistics,
  linkTcx,
  listIds,
  loadObject,
  loadProgram,
  openLink,
  openMap,
  openPinned,
  openProgram,
  queryTcx,
  replaceTcx,
} from '../../lib/kernel/bpf.js';
import { mapTypes } from '../../lib/wire/bpf/numbers.js';
import { fresh, inside } from '../support/inside.js';
import { requires } from '../support/requires.js';

const skip = requires('root');
const skipTcx = requires('root', 'tcx');

type Instruction = readonly [code: number, registers?: number, offset?: number, constant?: number];
/** struct bpf_insn each. */
function code(...instructions: readonly Instruction[]): Uint8Array {
  const bytes = new Uint8Array(8 * instructions.length);
  const view = new DataView(bytes.buffer);
  instructions.forEach(([code, registers = 0, offset = 0, constant = 0], index) => {
    view.setUint8(8 * index, code);
    view.setUint8(8 * index + 1, registers);
    view.setInt16(8 * index + 2, offset, true);
    view.setInt32(8 * index + 4, constant, true);
  });
  return bytes;
}
const EXIT: Instruction = [0x95];
const returns = (value: number): Uint8Array => code([0xb7, 0, 0, value], EXIT);

function u32(...values: readonly number[]): Uint8Array {
  return new Uint8Array(Uint32Array.from(values).buffer);
}
async function map(t: Test, type: string, keySize: number, valueSize: number, maxEntries: number): Promise<BpfMap> {
  const made = await createMap({ type: mapTypes.number(type), keySize, valueSize, maxEntries, flags: 0, name: `t_${type}` });
  t.teardown(() => made.close());
  return made;
}
async function program(t: Test, name: string, instructions: Uint8Array): Promise<BpfProgram> {
  const made = await loadProgram(name, { instructions });
  t.teardown(() => made.close());
  return made;
}

await t.test('checkHost tells', { skip: skipTcx }, async (t) => {
  t.match((await checkHost()).features, { bpf: true, tcx: true });
});

await t.test('maps', { skip }, async (t) => {
  await t.test('a hash: set, get, delete, list, each of many in one trip', async (t) => {
    const hash = await map(t, 'hash', 4, 8, 100);
    const all = Array.from({ length: 100 }, (_, index) => [u32(index), u32(index, 7 * index)] as const);
    await hash.set(all);
    t.same(await hash.get([u32(3), u32(1000), u32(99)]), [u32(3, 21), undefined, u32(99, 693)]);
    t.equal(await hash.delete([u32(3), u32(1000), u32(4)]), 2);
    const listed = [...(await hash.entries())].map(([key, value]) => [new DataView(key.slice().buffer).getUint32(0, true), value] as const);
    t.same(
      listed.sort(([a], [b]) => a - b),
      all.map(([, value], index) => [index, value]).filter(([index]) => index !== 3 && index !== 4),
    );
    t.match(await hash.info(), { type: 1, name: 't_hash', keySize: 4, valueSize: 8, maxEntries: 100 });
    t.same(await hash.get([]), []);
    t.equal(await hash.delete([]), 0);
  });
  await t.test('what is refused says which entry, and why', async (t) => {
    const hash = await map(t, 'hash', 4, 4, 2);
    await t.rejects(hash.set([1, 2, 3].map((key) => [u32(key), u32(0)])), { code: 'E2BIG', message: /entry 2 of 3/ });
    t.equal((await hash.entries()).length, 2, 'those before it are in');
    await t.rejects(hash.set([[u32(1), u32(0)]], 'new'), { code: 'EEXIST' });
    await t.rejects(hash.set([[u32(9), u32(0)]], 'existing'), { code: 'ENOENT' });
    await t.rejects(hash.get([Uint8Array.of(1, 2, 3)]), { code: 'EINVAL' });
    await t.rejects(hash.set([[u32(1), Uint8Array.of(1)]]), { code: 'EINVAL' });
    const array = await map(t, 'array', 4, 4, 2);
    await t.rejects(array.set([[u32(2), u32(0)]]), { code: 'E2BIG' });
    await t.rejects(createMap({ type: 1, keySize: 0, valueSize: 4, maxEntries: 1, flags: 0, name: '' }), { code: 'EINVAL' });
  });
  await t.test('for each CPU: a value of each', async (t) => {
    const { stdout } = spawnSync('getconf', ['_NPROCESSORS_CONF'], { encoding: 'utf8' });
    const cpus = Number(stdout);
    const array = await map(t, 'percpu_array', 4, 4, 3);
    const value = new Uint8Array(Uint32Array.from({ length: 2 * cpus }, (_, index) => (index % 2 === 0 ? index + 1 : 0)).buffer);
    const [first] = await array.get([u32(0)]);
    t.equal(first!.length % 8, 0);
    t.ok(first!.length >= 8 * cpus);
    if (first!.length === 8 * cpus) {
      await array.set([[u32(1), value]]);
      t.same(await array.get([u32(1)]), [value]);
      t.equal((await array.entries()).length, 3);
    }
  });
});

await t.test('programs', { skip }, async (t) => {
  const netns = await fresh(t);
  const frame = Uint8Array.from({ length: 64 }, (_, index) => index);

  await t.test('run on a frame', async (t) => {
    const ran = await (await program(t, 'two', returns(2))).run(netns, frame);
    t.equal(ran.value, 2);
    t.same(ran.frame, frame);
    t.equal((await (await program(t, 'next', returns(-1))).run(netns, frame, 3)).value, -1);
    await t.rejects((await program(t, 'two', returns(2))).run(netns, frame.subarray(0, 8)), { code: 'EINVAL' });
  });
  await t.test('maps are patched in, each where it belongs', async (t) => {
    const object = {
      maps: [
        { name: 'left', type: 2, keySize: 4, valueSize: 4, maxEntries: 1, flags: 0 },
        { name: 'right', type: 2, keySize: 4, valueSize: 4, maxEntries: 1, flags: 0 },
      ],
      programs: Object.fromEntries(
        ['left', 'right'].map((name) => [
          `read_${name}`,
          {
            relocations: [{ at: 3, map: name }],
            // *(u32 *)(fp - 4) = 0; r2 = fp - 4; r1 = map; r0 = lookup(r1, r2); if (r0) r0 = *(u32 *)r0; return
            instructions: Buffer.from(
              code([0x62, 10, -4, 0], [0xbf, 0xa2], [0x07, 2, 0, -4], [0x18, 1], [0], [0x85, 0, 0, 1], [0x15, 0, 1], [0x61, 0], EXIT),
            ).toString('hex'),
          },
        ]),
      ),
    };
    await using loaded = await loadObject(object);
    await loaded.maps.left!.set([[u32(0), u32(41)]]);
    await loaded.maps.right!.set([[u32(0), u32(42)]]);
    t.equal((await loaded.programs.read_left!.run(netns, frame)).value, 41);
    t.equal((await loaded.programs.read_right!.run(netns, frame)).value, 42);
    t.same((await loaded.programs.read_left!.info()).mapIds, [(await loaded.maps.left!.info()).id]);
    const opened = await loaded.programs.read_right!.openMaps();
    t.same(Object.keys(opened), ['right']);
    t.same(await opened.right!.get([u32(0)]), [u32(42)]);
    await opened.right!.close();
    await t.rejects(async () => opened.right!.get([u32(0)]), { code: 'ERR_HANDLE_CLOSED' });

    await using sharing = await loadObject(object, { left: loaded.maps.left! });
    t.equal((await sharing.programs.read_left!.run(netns, frame)).value, 41);
    t.equal((await sharing.programs.read_right!.run(netns, frame)).value, 0);
  });
  await t.test('what the verifier says', async (t) => {
    const error = await loadProgram('bad', { instructions: code([0xbf, 0x10], [0x61, 0, 0, 0], [0x79, 0x20], EXIT) }).catch((error: unknown) => error); // prettier-ignore
    t.ok(error instanceof BpfLoadError);
    t.match(error, { code: 'EACCES', errno: -13, message: /'bad'.*R2 !read_ok/, log: /R2 !read_ok/ });
    await t.rejects(loadProgram('empty', { instructions: new Uint8Array() }), { code: /E2BIG|EINVAL/ });
  });
  await t.test('they are found by id, are told about, and are gone when nobody holds them', async (t) => {
    const made = await loadProgram('findable', { instructions: returns(0) });
    const { id, tag } = await made.info();
    t.ok((await listIds('program')).includes(id));
    const again = await openProgram(id);
    t.match(await again.info(), { id, name: 'findable', type: 3, tag, mapIds: [] });
    t.match(tag, /^[0-9a-f]{16}$/);
    const other = await program(t, 'other', returns(1));
    t.not((await other.info()).tag, tag, 'it is of the instructions');
    await made.close();
    await again.close();
    await t.rejects(openProgram(id), { code: 'ENOENT' });
    await t.rejects(openMap(0x7fffffff), { code: 'ENOENT' });
  });
  await t.test('statistics while they are wanted', async (t) => {
    const counted = await program(t, 'counted', returns(0));
    await counted.run(netns, frame, 10);
    t.equal((await counted.info()).runCount, 0n);
    {
      await using wanted = await enableStatistics();
      t.ok(wanted);
      await counted.run(netns, frame, 10);
    }
    await counted.run(netns, frame, 10);
    const { runCount, runTime } = await counted.info();
    t.equal(runCount, 10n);
    t.ok(runTime > 0n);
  });
  await t.test('pinned, they stay', async (t) => {
    const directory = '/run/bpf';
    mkdirSync(directory);
    t.equal(spawnSync('mount', ['-t', 'bpf', 'bpf', directory]).status, 0);
    t.teardown(() => spawnSync('umount', [directory]));
    const made = await loadProgram('pinned', { instructions: returns(5) });
    const hash = await createMap({ type: 1, keySize: 4, valueSize: 4, maxEntries: 1, flags: 0, name: 'pinned' });
    await hash.set([[u32(1), u32(2)]]);
    await made.pin(`${directory}/program`);
    await hash.pin(`${directory}/map`);
    await t.rejects(made.pin(`${directory}/program`), { code: 'EEXIST', path: `${directory}/program` });
    await t.rejects(made.pin('/run/nobpf'), { code: 'EPERM' });
    await made.close();
    await hash.close();
    await using again = await openPinned(BpfProgram, `${directory}/program`);
    await using mapAgain = await openPinned(BpfMap, `${directory}/map`);
    t.equal((await again.run(netns, frame)).value, 5);
    t.same(await mapAgain.get([u32(1)]), [u32(2)]);
    await t.rejects(openPinned(BpfMap, `${directory}/nothing`), { code: 'ENOENT' });
  });
});

await t.test('tcx', { skip: skipTcx }, async (t) => {
  const lab = async (t: Test): Promise<{ netns: Netns; hook: { ifindex: number; direction: 'ingress' } }> => {
    const [near, netns] = [await fresh(t), await fresh(t)];
    // Padding: so that the index of the interface is not one that this process's own namespace has.
    inside(netns, 'ip link add pad0 type veth peer name pad1; ip link add pad2 type veth peer name pad3');
    await createVeth(near, 'v0', { up: true, peer: { scope: netns, name: 'v1', up: true } });
    return { netns, hook: { ifindex: (await getLink(netns, 'v1'))!.ifindex, direction: 'ingress' } };
  };
  const names = async (netns: Netns, hook: Parameters<typeof queryTcx>[1]): Promise<string[]> => {
    const found: string[] = [];
    for (const { id } of (await queryTcx(netns, hook)).programs) {
      await using one = await openProgram(id);
      found.push((await one.info()).name);
    }
    return found;
  };
  const idOf = async (one: BpfProgram): Promise<number> => (await one.info()).id;

  await t.test('attached for good: in order, counted by revision, each direction for itself', async (t) => {
    const { netns, hook } = await lab(t);
    t.strictSame(await queryTcx(netns, hook), { revision: 1n, programs: [] });
    const [a, b, c, d] = await Promise.all(['a', 'b', 'c', 'd'].map((name) => program(t, name, returns(-1))));
    await attachTcx(netns, hook, a!);
    t.strictSame(await queryTcx(netns, hook), { revision: 2n, programs: [{ id: await idOf(a!) }] });
    const orders: readonly (readonly [BpfProgram, TcxOrder])[] = [[b!, 'first'], [c!, { before: await idOf(a!) }], [d!, { after: await idOf(b!) }]]; // prettier-ignore
    for (const [one, order] of orders) await attachTcx(netns, hook, one, { order });
    t.same(await names(netns, hook), ['b', 'd', 'c', 'a']);
    t.same((await queryTcx(netns, { ...hook, direction: 'egress' })).programs, []);
    await t.rejects(attachTcx(netns, hook, a!), { code: 'EEXIST' });
    await t.rejects(attachTcx(netns, hook, await program(t, 'e', returns(0)), { order: { before: 0x7fffffff } }), { code: 'ENOENT' });
    const { revision } = await queryTcx(netns, hook);
    const e = await program(t, 'e', returns(0));
    await t.rejects(attachTcx(netns, hook, e, { expectedRevision: revision - 1n }), { code: 'ESTALE' });
    await attachTcx(netns, hook, e, { expectedRevision: revision });
    await replaceTcx(netns, hook, await program(t, 'f', returns(-1)), await idOf(d!));
    t.same(await names(netns, hook), ['b', 'f', 'c', 'a', 'e']);
    await t.rejects(detachTcx(netns, hook, await idOf(e), { expectedRevision: 1n }), { code: 'ESTALE' });
    t.equal(await detachTcx(netns, hook, await idOf(b!)), true);
    t.equal(await detachTcx(netns, hook, await idOf(b!)), false, 'not there');
    t.equal(await detachTcx(netns, hook, 0x7fffffff), false, 'no such program');
    t.same(await names(netns, hook), ['f', 'c', 'a', 'e']);
  });
  await t.test('attached by a link: as long as that is held', async (t) => {
    const { netns, hook } = await lab(t);
    const [a, b] = [await program(t, 'a', returns(-1)), await program(t, 'b', returns(-1))];
    const link = await linkTcx(netns, hook, a);
    const { id: linkId } = await link.info();
    t.match(await link.info(), { type: 11, program: await idOf(a), ifindex: hook.ifindex, attachType: 46 });
    t.strictSame((await queryTcx(netns, hook)).programs, [{ id: await idOf(a), linkId }]);
    const second = await linkTcx(netns, hook, b, { order: { before: linkId, of: 'link' } });
    t.same(await names(netns, hook), ['b', 'a']);
    const again = await openLink(linkId);
    await link.close();
    t.same(await names(netns, hook), ['b', 'a'], 'it is held still');
    await again.close();
    t.same(await names(netns, hook), ['b']);
    await second.detach();
    t.same(await names(netns, hook), []);
    t.match(await second.info(), { ifindex: 0 });
    await second.close();
    await t.rejects(openLink(linkId), { code: 'ENOENT' });
    t.ok(BpfLink);
  });
  await t.test('an interface that is not there', async (t) => {
    const { netns } = await lab(t);
    const hook = { ifindex: 4711, direction: 'ingress' } as const;
    await t.rejects(queryTcx(netns, hook), { code: 'ENODEV', message: /index 4711/ });
    await t.rejects(attachTcx(netns, hook, await program(t, 'a', returns(0))), { code: 'ENODEV' });
    await t.rejects(linkTcx(netns, hook, await program(t, 'a', returns(0))), { code: 'ENODEV' });
  });
});

// Before Linux 6.6.
if (requires('tcx') !== false) {
  await t.test('without tcx', { skip }, async (t) => {
    const netns = await fresh(t);
    const unsupported = { name: 'UnsupportedError', feature: 'tcx', minimumKernel: '6.6' };
    await t.rejects(queryTcx(netns, { ifindex: 1, direction: 'ingress' }), unsupported);
    await t.rejects(attachTcx(netns, { ifindex: 1, direction: 'ingress' }, await program(t, 'a', returns(0))), unsupported);
    t.match((await checkHost()).features, { bpf: true, tcx: false });
  });
}
