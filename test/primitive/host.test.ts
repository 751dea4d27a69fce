import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import t from 'tap';
import { Netns, UnsupportedError, addFilter, addQdisc, checkHost, createLink, listLinks } from 'podtap';
import { createLab } from 'podtap/lab';
import { root } from '../support/root.js';

await t.test('what is there is found, and nothing is changed', async (t) => {
  await using here = await Netns.current();
  const before = await listLinks(here);
  const { ok, features, problems } = await checkHost(here);
  t.strictSame(problems, []);
  t.equal(ok, true);
  for (const name of ['tun', 'namespaces', 'veth', 'bridge', 'clsact', 'u32', 'mirred', 'capNetAdmin', 'capSysAdmin'])
    t.equal(features[name], true, name);
  t.strictSame(await listLinks(here), before);
});

// Each probe says what the kernel says when the same is asked for by itself.
for (const kind of ['dummy', 'vlan', 'macvlan', 'macvtap', 'vxlan', 'ifb', 'bridge']) {
  await t.test(`links of kind ${kind}`, async (t) => {
    await using lab = await createLab({ nodes: { a: {}, b: {} }, links: [{ a: '', b: '' }] });
    const options =
      kind === 'vlan' ? { link: 'eth0', id: 7 } : kind.startsWith('macv') ? { link: 'eth0' } : kind === 'vxlan' ? { id: 1 } : {};
    const made = await createLink(lab.a, kind, 'probe0', options).then(
      () => true,
      (error: unknown) => {
        t.ok(error instanceof UnsupportedError);
        t.match(error, { code: 'ERR_UNSUPPORTED', feature: `link kind ${kind}`, config: /^CONFIG_/, cause: { code: 'EOPNOTSUPP' } });
        return false;
      },
    );
    t.equal((await checkHost()).features[kind], made);
  });
}

await t.test('qdiscs, classifiers and links that no kernel has are named', async (t) => {
  await using lab = await createLab({ nodes: { a: {}, b: {} }, links: [{ a: '', b: '' }] });
  await addQdisc(lab.a, 'eth0', { kind: 'clsact' });
  const unsupported = { name: 'UnsupportedError', code: 'ERR_UNSUPPORTED' };
  await t.rejects(addFilter(lab.a, 'eth0', { parent: 'ingress', priority: 1, kind: 'nosuch' }), {
    ...unsupported,
    feature: 'filter nosuch',
    config: 'CONFIG_NET_CLS_NOSUCH',
  });
  await t.rejects(addQdisc(lab.a, 'eth0', { kind: 'nosuch' }), {
    ...unsupported,
    feature: 'qdisc nosuch',
    config: 'CONFIG_NET_SCH_NOSUCH',
  });
  await t.rejects(createLink(lab.a, 'nosuch', 'n0'), { ...unsupported, feature: 'link kind nosuch', config: 'CONFIG_NOSUCH' });
});

await t.test('without privileges the problems say so', async (t) => {
  // In a user namespace where nothing is mapped to root, with no capability left after execve(2).
  const program = `import { checkHost } from ${JSON.stringify(join(root, 'dist/lib/index.js'))}; console.log(JSON.stringify(await checkHost()));`;
  const { stdout, stderr } = spawnSync(
    'unshare',
    [
      '--user',
      '--map-user=1000',
      'setpriv',
      '--inh-caps=-all',
      '--ambient-caps=-all',
      process.execPath,
      '--input-type=module',
      '--eval',
      program,
    ],
    { encoding: 'utf8' },
  );
  const { ok, features, problems } = JSON.parse(stdout || stderr) as Awaited<ReturnType<typeof checkHost>>;
  t.equal(ok, false);
  t.equal(features.capNetAdmin, false);
  t.ok(problems.some(({ code, fix }) => code === 'NO_SYS_ADMIN' && fix.includes('podtap/unprivileged')));
});
