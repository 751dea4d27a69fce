import t from 'tap';
import { Netns, createVeth, readSysctl, setLink, setSysctl } from 'podtap';
import { sh } from '../support/oracle.js';
import { requires } from '../support/requires.js';

/** The kernel may have none of net.core in a user namespace. */
const core = [['net.core.somaxconn', 1234]] as const;
const usual = [
  ['net.ipv4.conf.eth0.rp_filter', 2],
  ['net.ipv4.conf.all.forwarding', 1],
  ['net.ipv4.ip_forward', 0],
  ['net.ipv4.conf.eth0.route_localnet', '1'],
  ['net.ipv4.ip_local_port_range', '2000\t3000'],
  ['net.ipv4.ping_group_range', '0\t0'],
  ['net.ipv4.neigh.eth0.base_reachable_time_ms', 12000],
  ['net.ipv6.conf.eth0.hop_limit', 99],
  ['net.ipv6.conf.all.forwarding', 1],
  ['net.ipv6.conf.eth0.accept_ra', -1],
  ['net.ipv6.neigh.eth0.gc_stale_time', 77],
] as const;

for (const [name, keys, skip] of [
  ['both families', usual, false],
  ['net.core', core, requires('core_sysctls')],
] as const)
  await t.test(`read and set, ${name}, as sysctl(8) has it`, { skip }, async (t) => {
    await using netns = await Netns.create();
    await using other = await Netns.create();
    await createVeth(netns, 'eth0', { peer: { name: 'x' } });
    for (const [key, value] of keys) {
      const before = await readSysctl(other, key).catch(() => undefined);
      await setSysctl(netns, key, value);
      t.equal(await readSysctl(netns, key), String(value), key);
      t.equal((await sh(netns, `sysctl -n ${key}`)).trim(), String(value), `${key}, as sysctl(8) says`);
      t.equal(await readSysctl(other, key).catch(() => undefined), before, `${key} of another namespace stays`);
    }
  });

await t.test('interfaces with a dot in their name', async (t) => {
  await using netns = await Netns.create();
  for (const name of ['eth0.1', 'a.b.c']) {
    await createVeth(netns, name, { peer: { name: `x${name.length}` } });
    for (const family of ['ipv4', 'ipv6']) {
      const key = `net.${family}.conf.${name.replaceAll('.', '/')}.forwarding`;
      await setSysctl(netns, key, 1);
      t.equal(await readSysctl(netns, key), '1');
      t.equal((await sh(netns, `sysctl -n ${key}`)).trim(), '1', key);
    }
  }
});

await t.test('an interface that comes, is renamed and goes', async (t) => {
  await using netns = await Netns.create();
  const key = (name: string): string => `net.ipv4.conf.${name}.rp_filter`;
  await t.rejects(readSysctl(netns, key('eth0')), {
    name: 'PodtapError',
    code: 'ENOENT',
    errno: -2,
    message: /'net\.ipv4\.conf\.eth0\.rp_filter'/,
  });
  await createVeth(netns, 'eth0', { peer: { name: 'x' } });
  await setSysctl(netns, key('eth0'), 2);
  await setLink(netns, 'eth0', { name: 'eth1' });
  t.equal(await readSysctl(netns, key('eth1')), '2');
  await t.rejects(readSysctl(netns, key('eth0')), { code: 'ENOENT' });
});

await t.test('what the kernel does not take', async (t) => {
  await using netns = await Netns.create();
  const before = await readSysctl(netns, 'net.ipv4.conf.all.rp_filter');
  await t.rejects(setSysctl(netns, 'net.ipv4.conf.all.rp_filter', 'strict'), {
    name: 'PodtapError',
    code: 'EINVAL',
    errno: -22,
    message: /net\.ipv4\.conf\.all\.rp_filter.*does not take/,
  });
  t.equal(await readSysctl(netns, 'net.ipv4.conf.all.rp_filter'), before);
  await t.rejects(readSysctl(netns, 'net.ipv4.no_such_setting'), { code: 'ENOENT' });
  await t.rejects(setSysctl(netns, 'net.ipv4.no_such_setting', 1), { code: 'ENOENT' });
  await t.rejects(readSysctl(netns, 'net.ipv9.conf.all.forwarding'), { code: 'ENOENT' });
  await t.rejects(readSysctl(netns, 'net.ipv4.conf'), { code: 'EISDIR' });
});

await t.test('keys that are none', async (t) => {
  await using netns = await Netns.create();
  for (const key of [
    '',
    'net',
    'net.ipv4',
    'kernel.hostname',
    'net.ipv4..forwarding',
    'net.ipv4.//.x',
    'net.ipv4.conf./.x',
    'net.ipv4.a\0b',
    'net.//.kernel.hostname',
  ]) {
    // prettier-ignore
    await t.rejects(readSysctl(netns, key), { name: 'TypeError', code: 'ERR_INVALID_ARG_VALUE', message: /must look like/ }, JSON.stringify(key));
    await t.rejects(setSysctl(netns, key, 1), { name: 'TypeError', code: 'ERR_INVALID_ARG_VALUE' }, JSON.stringify(key));
  }
  for (const value of [undefined, true, 1.5, {}, Number.NaN])
    await t.rejects(setSysctl(netns, 'net.ipv4.ip_forward', value as never), { name: 'TypeError', code: /^ERR_INVALID_ARG_/ });
});
