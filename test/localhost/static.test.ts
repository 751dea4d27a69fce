// Static rules of traffic control for one guest and one service, as commands: what could be a third backend where the kernel has pedit, csum,
// skbedit and flower. Why it is none stands in lib/localhost/README.md; this shows what that says of it.
import t from 'tap';
import { inside, until } from '../support/inside.js';
import { requires } from '../support/requires.js';
import { ALIAS_MAC, DNS, POD, worldOf } from './world.js';

t.setTimeout(300_000);

await t.test('one service, UDP and TCP, by pedit', { skip: requires('tun', 'flower', 'pedit', 'skbedit', 'act_more') }, async (t) => {
  const { pod, sidecar, guests, taps } = await worldOf(t);
  await sidecar.serve('udp', '127.0.0.11', 40_053, '', 4000);
  await sidecar.serve('tcp', '127.0.0.11', 40_054);
  inside(pod, 'tc qdisc add dev lo clsact');
  for (const [kind, real] of [['udp', 40_053], ['tcp', 40_054]] as const) {
    inside(pod, `tc filter add dev ${taps[0]!.name} ingress pref ${kind === 'udp' ? 5 : 6} protocol ip flower dst_ip ${DNS} ip_proto ${kind} dst_port 53 action pedit ex munge ip src set 127.77.0.1 munge ip dst set 127.0.0.11 munge ${kind} dport set ${real} pipe action csum ip and ${kind} pipe action skbedit ptype host pipe action mirred ingress redirect dev lo`); // prettier-ignore
    inside(pod, `tc filter add dev lo egress pref ${kind === 'udp' ? 5 : 6} protocol ip flower dst_ip 127.77.0.1 ip_proto ${kind} src_port ${real} action pedit ex munge eth src set ${ALIAS_MAC} munge eth dst set ${POD.mac} munge ip src set ${DNS} munge ip dst set ${POD.address} munge ${kind} sport set 53 pipe action csum ip and ${kind} pipe action mirred egress redirect dev ${taps[0]!.name}`); // prettier-ignore
  } // prettier-ignore
  const { agent } = guests[0]!;
  t.equal(await until(async () => (await agent.says('tcp', DNS, 53)) === 'hello'), true, 'TCP');
  // An answer that is longer than the MTU: later fragments have no ports, and are not found.
  t.equal((await agent.ask('udp', DNS, 53, { timeout: 2 })).error, 'TimeoutError', 'fragments are lost');
  inside(
    pod,
    `tc qdisc del dev lo clsact; tc filter del dev ${taps[0]!.name} ingress pref 5; tc filter del dev ${taps[0]!.name} ingress pref 6`,
  );
});
