import { Netns, createTap, createVeth, deleteLink, getLink, listLinks, openPacketSocket, readSysctl, setLink, watch } from 'podtap'; // prettier-ignore
import { ping } from 'podtap/lab';
import t from 'tap';
import { fixture, fresh } from '../support/inside.js';
import { requires } from '../support/requires.js';

const skip = requires('tun');
const process_ = (...args: readonly string[]) => fixture('kernel/environment.fixture.js', args);
const waits = ['frames', 'TAP frames', 'watch', 'attached', 'ping', 'connect', 'busy'];
const idle = ['loaded', 'open namespace', 'open socket', 'open TAP', 'request', 'requests', 'opening'];

await t.test('process.exit in any state', { skip }, async (t) => {
  const states = [...waits, ...idle];
  for (let at = 0; at < states.length; at += 2) {
    await Promise.all(
      states.slice(at, at + 2).map(async (state, index) => {
        const ended = await process_(state, index === 0 ? 'exit' : 'later', String(20 + at));
        t.same([ended.code, ended.signal, ended.stderr], [20 + at, null, ''], state);
      }),
    );
  }
  const busy = await Promise.all([process_('busy', 'later', '7'), process_('busy', 'kill')]);
  t.same(busy.map(({ code, signal }) => [code, signal]), [[7, null], [null, 'SIGTERM']]); // prettier-ignore
  const thrown = await process_('throws', 'linger');
  t.equal(thrown.code, 1);
  t.match(thrown.stderr, /as a program may/);
});

await t.test('what is idle keeps no process alive, what waits does', { skip }, async (t) => {
  for (let at = 0; at < idle.length; at += 2) {
    await Promise.all(
      idle.slice(at, at + 2).map(async (state) => {
        const ended = await process_(state, 'end', '5');
        t.same([ended.code, ended.signal, ended.stderr], [5, null, ''], state);
      }),
    );
  }
  await Promise.all(
    waits.map(async (state) => {
      const ended = await fixture('kernel/environment.fixture.js', [state, 'linger'], { killedAfter: 150 });
      t.same([ended.stdout, ended.signal], ['under way\n', 'SIGKILL'], state);
    }),
  );
});

await t.test('a namespace that is dropped is closed by the garbage collector', { skip }, async (t) => {
  const { code, stdout, stderr } = await fixture('kernel/environment.fixture.js', ['collected'], { nodeArgs: ['--expose-gc'] });
  t.same([code, stdout, stderr], [0, 'true true\n', '']);
});

await t.test('use after close', { skip }, async (t) => {
  const netns = await Netns.create();
  const other = await fresh(t);
  await netns.close();
  const uses: Record<string, () => Promise<unknown>> = {
    listLinks: () => listLinks(netns),
    getLink: () => getLink(netns, 'lo'),
    setLink: () => setLink(netns, 'lo', { up: true }),
    deleteLink: () => deleteLink(netns, 'lo'),
    createTap: () => createTap(netns, 'tap0'),
    openPacketSocket: () => openPacketSocket(netns, 'lo'),
    readSysctl: () => readSysctl(netns, 'net.ipv4.ip_forward'),
    watch: () => watch(netns).next(),
    ping: () => ping(netns, '127.0.0.1'),
    spawn: () => netns.spawn('true'),
    openSocket: () => netns.openSocket({ type: 'udp', address: '127.0.0.1', port: 0 }),
    createVeth: () => createVeth(other, 'v0', { peer: { scope: netns, name: 'v1' } }),
    'setLink to it': () => setLink(other, 'lo', { netns }),
  };
  for (const [name, use] of Object.entries(uses)) await t.rejects(use(), { code: 'ERR_NETNS_CLOSED' }, name);
  t.same(
    (await listLinks(other)).map(({ name }) => name),
    ['lo'],
  );
});
