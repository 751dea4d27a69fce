// Scene 5: the same by TC redirect.
//
// No bridge: every frame that enters eth0 leaves by the TAP and the other way round, by a filter on each that redirects. eth0 keeps its
// address and its MAC, which are the guest's too; the pod's own stack gets nothing from outside. Undone, the pod is what it was.
import { readdirSync, readlinkSync } from 'node:fs';
import { Netns, addAddress, addRoute, createBridge, createVeth, getLink, inspect, listFilters, listLinks, planPlumbing, plumb, readAddr, setSysctl } from 'podtap'; // prettier-ignore
import { ping, runGuest } from 'podtap/lab';
import { compare, dump } from './dump.js';
import { answers, mustHold, print, show, step, title } from './stage.js';
import { fetchPage } from './web.js';

const PAGE = 'Hello from behind tap100\n';

title('Scene 5: frames go from eth0 to the TAP and back, and no bridge is in between');
const before = await held();
await scene();
const after = await step('Everything is gone: no descriptor holds a namespace, a TAP or a connection any more', [], held);
show('held before, and now', [before, after]);
mustHold('nothing is left behind', JSON.stringify(before) === JSON.stringify(after));
console.log('\nScene 5 showed what it must.');

async function scene(): Promise<void> {
  await using node = await Netns.create();
  await using client = await Netns.create();
  await using pod = await Netns.create();

  await step(
    'A node with the bridge k8s_br0, and two pods on it: 172.17.0.4 and 172.17.0.5',
    [
      'ip link add k8s_br0 type bridge; ip address add 172.17.0.1/16 dev k8s_br0; ip link set k8s_br0 up',
      'ip link add veth5 master k8s_br0 type veth peer name eth0 netns POD; ip link set veth5 up',
      'ip -n POD address add 172.17.0.5/16 dev eth0; ip -n POD route add default via 172.17.0.1',
    ],
    async () => {
      await createBridge(node, 'k8s_br0', { up: true });
      await addAddress(node, 'k8s_br0', '172.17.0.1/16');
      for (const [name, scope, address] of [
        ['veth4', client, '172.17.0.4/16'],
        ['veth5', pod, '172.17.0.5/16'],
      ] as const) {
        // Else the kernel is still busy with its own link-local address a second later, and changes what is compared.
        await setSysctl(scope, 'net.ipv6.conf.default.accept_dad', 0);
        // prettier-ignore
        await createVeth(node, name, { master: 'k8s_br0', up: true, peer: { scope, name: 'eth0', addresses: [address], up: true } });
        await addRoute(scope, { dst: 'default', via: '172.17.0.1' });
      }
    },
  );
  mustHold("172.17.0.4 pings 172.17.0.5: the pod's own stack answers", await answers(client, '172.17.0.5'));

  const eth0 = await step(
    'Obtain the network configuration of eth0',
    ['ip -d link show dev eth0', 'ip address show dev eth0', 'ip route show table all dev eth0'],
    () => readAddr(pod, 'eth0'),
  );
  show('address, gateway, MAC, MTU', [ipv4Of(eth0), eth0.gateway.ipv4, eth0.mac, eth0.mtu]);
  const untouched = await dump(pod);

  const plan = await step('What plumb is going to do, as a person would have written it', [], () =>
    planPlumbing(pod, { link: 'eth0', tap: 'tap100', mode: 'redirect' }),
  );
  print(String(plan));
  mustHold('a plan changes nothing', compare(untouched, await dump(pod)) === 0);

  await using net = await step(
    'Create tap100, and redirect from eth0 to it and from it to eth0: one call, all of it or nothing',
    ["plumb(pod, { link: 'eth0', tap: 'tap100', mode: 'redirect', label: 'scene/5' })"],
    () => plumb(pod, { link: 'eth0', tap: 'tap100', mode: 'redirect', label: 'scene/5' }),
  );
  compare(untouched, await dump(pod));
  const kept = await readAddr(pod, 'eth0');
  mustHold('eth0 keeps its address and its MAC', kept.mac === eth0.mac && ipv4Of(kept) === ipv4Of(eth0));
  mustHold("the guest's MAC is eth0's", net.guest.mac === eth0.mac);
  mustHold('there is no bridge', (await listLinks(pod, { kind: 'bridge' })).length === 0);
  for (const [from, to] of [['eth0', 'tap100'], ['tap100', 'eth0']] as const) {
    const target = (await getLink(pod, to))?.ifindex;
    const filters = await listFilters(pod, from, 'ingress');
    const redirects = filters.some(({ actions }) => (actions?.[0]?.options as { dev?: number } | undefined)?.dev === target);
    mustHold(`a filter redirects from ${from} to ${to}`, redirects);
  } // prettier-ignore

  const seen = await step('What is plumbed in the pod, from the kernel alone', ['inspect(pod)'], () => inspect(pod));
  print(String(seen));
  mustHold('it is scene/5, and nothing is wrong with it', seen.plumbings[0]?.label === 'scene/5' && seen.problems.length === 0);

  const guest = await step(
    "Run the guest on tap100 with eth0's configuration: its only wire is the TAP's descriptor",
    [`unikernel --net=${net.guest.tap} --mac=${net.guest.mac} --ipv4=${ipv4Of(net.guest)} --ipv4-gateway=${net.guest.gateway.ipv4}`],
    () => runGuest(net.tap, net.guest),
  );
  try {
    mustHold('the guest reaches its gateway', await answers(guest.netns, '172.17.0.1'));

    const pings = await step('The other pod pings the guest', ['ip netns exec CLIENT ping -c 3 172.17.0.5'], () =>
      ping(client, '172.17.0.5', { count: 3, interval: 100, timeout: 2000 }),
    );
    show(
      'round trips in ms',
      pings.rtt.map((rtt) => rtt.toFixed(2)),
    );
    mustHold('three requests, three replies', pings.received === 3);

    const page = await step('The other pod fetches a page from it', ['ip netns exec CLIENT curl http://172.17.0.5/'], () =>
      fetchPage(client, guest.netns, '172.17.0.5', PAGE),
    );
    show('page', page);
    mustHold('it is the page that the guest serves', page === PAGE);
  } finally {
    await guest.close();
  }

  const report = await step('The guest has ended: undo', ['net.undo()'], () => net.undo());
  show('report', report);
  mustHold('nothing was left behind', report.state === 'undone' && report.leftBehind.length === 0);
  mustHold('links, addresses, routes, rules and neighbours are what they were', compare(untouched, await dump(pod)) === 0);
  mustHold("172.17.0.4 pings 172.17.0.5: the pod's own stack answers again", await answers(client, '172.17.0.5'));
}

function ipv4Of({ addresses }: { readonly addresses: readonly { readonly address: string }[] }): string | undefined {
  return addresses.map(({ address }) => address).find((address) => !address.includes(':'));
}

/** What keeps a namespace, with all that is in it, a TAP or a connection alive: an open descriptor of this process. */
async function held(): Promise<string[]> {
  await new Promise((resolve) => setTimeout(resolve, 50)); // a web server's sockets close a turn later
  const open = readdirSync('/proc/self/fd').flatMap((fd) => {
    try {
      return [readlinkSync(`/proc/self/fd/${fd}`)];
    } catch {
      return []; // the one that the folder itself was read by
    }
  });
  return open.filter((target) => /^(net|socket|\/dev\/net\/tun)/.test(target)).sort();
}
