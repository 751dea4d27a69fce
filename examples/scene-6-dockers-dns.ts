// Scene 6: Docker's DNS.
//
// In a container's namespace Docker's resolver listens on two ports of 127.0.0.11 that are chosen anew each time, and port 53 exists only as a
// translation in the chain that the container's own packets pass. A guest has a stack and a loopback of its own: it reaches neither. podtap
// finds the ports, and gives the guest an address, chosen at run time, that stands for 127.0.0.11.
import dgram from 'node:dgram';
import { Netns, createBridge, addAddress, addRoute, createVeth, exposeLocalhost, plumb, setSysctl } from 'podtap';
import { runGuest } from 'podtap/lab';
import { lookUp, question, runResolver } from './dns.js';
import { rulesOf, translate } from './docker.js';
import { compare, dump } from './dump.js';
import { sendFrame } from './frames.js';
import { answers, mustHold, print, show, step, title } from './stage.js';

const WEB = '172.18.0.9';

title("Scene 6: a guest asks Docker's resolver, at 127.0.0.11 of its pod");
await using node = await Netns.create();
await using pod = await Netns.create();
await step(
  "A container on a user-defined network, 172.18.0.2, as Docker's engine leaves it",
  [
    'ip link add br-net type bridge; ip address add 172.18.0.1/16 dev br-net; ip link set br-net up',
    'ip link add veth2 master br-net type veth peer name eth0 netns POD; ip -n POD address add 172.18.0.2/16 dev eth0',
    'ip -n POD route add default via 172.18.0.1',
  ],
  async () => {
    await createBridge(node, 'br-net', { up: true });
    await addAddress(node, 'br-net', '172.18.0.1/16');
    await setSysctl(pod, 'net.ipv6.conf.default.accept_dad', 0);
    // prettier-ignore
    await createVeth(node, 'veth2', { master: 'br-net', up: true, peer: { scope: pod, name: 'eth0', addresses: ['172.18.0.2/16'], up: true } });
    await addRoute(pod, { dst: 'default', via: '172.18.0.1' });
  },
);
await using resolver = await runResolver(pod, '127.0.0.11', { web: WEB });
const { udp, tcp } = resolver.ports;
await step(`Its resolver: UDP port ${udp} and TCP port ${tcp} of 127.0.0.11, and 53 only by translation`, rulesOf({ udp, tcp }), () =>
  translate(pod, { udp, tcp }),
);
mustHold("the container's own processes find 'web' at 127.0.0.11:53", (await lookUp(pod, '127.0.0.11', 'web')) === WEB);
mustHold('the gateway is there', await answers(pod, '172.18.0.1'));
const untouched = await dump(pod);

await using net = await step(
  "Give eth0's place to a guest",
  ["plumb(pod, { link: 'eth0', tap: 'tap100', mode: 'redirect', label: 'scene/6' })"],
  () => plumb(pod, { link: 'eth0', tap: 'tap100', mode: 'redirect', label: 'scene/6' }),
);
const exposed = await step("Let it reach Docker's resolver", ["exposeLocalhost(net, { services: ['docker-dns'] })"], () =>
  exposeLocalhost(net, { services: ['docker-dns'] }),
);
const [dns] = exposed.services;
show('it dials', `${dns!.address}:${dns!.first}, ${dns!.protocols.join(' and ')}`);
show('carried by', `${exposed.backend} (${exposed.why})`);
show('what the guest is told', net.guest.dns);
mustHold('the guest is told that address as its nameserver', net.guest.dns.servers.join() === dns!.address);
mustHold('it is a link-local one, and none that anybody uses', /^169\.254\.\d+\.1$/.test(dns!.address));
const verified = await net.verify();
mustHold('everything is as it was made', verified.ok);

const guest = await step('Run the guest on tap100', [`unikernel --net=tap100 --dns=${dns!.address}`], () => runGuest(net.tap, net.guest));
try {
  mustHold('the guest reaches its gateway', await answers(guest.netns, '172.18.0.1'));
  for (const by of ['udp', 'tcp'] as const) {
    const found = await step(
      `The guest looks up 'web' by ${by.toUpperCase()}`,
      [`ip netns exec GUEST dig ${by === 'tcp' ? '+tcp ' : ''}web @${dns!.address}`],
      () => lookUp(guest.netns, dns!.address, 'web', by),
    );
    show('web', found);
    mustHold("it is the container's address", found === WEB);
  }
  show('who asked, as the resolver sees it', [...new Set(resolver.asked)]);
  mustHold('the guest is somebody of 127.0.0.0/8 there, so that replies find back', resolver.asked.slice(-2).every((who) => who.startsWith('127.'))); // prettier-ignore

  const secret = dgram.createSocket('udp4');
  try {
    let heard = 0;
    secret.on('message', () => heard++);
    secret.bind({ fd: await pod.openSocket({ type: 'udp', address: '127.0.0.1', port: 0 }) });
    const { port } = secret.address();
    await step(`Something else listens on port ${port} of 127.0.0.1, which was not declared; the guest tries it`, [], async () => {
      const from = dgram.createSocket('udp4');
      from.on('error', () => undefined);
      from.bind({ fd: await guest.netns.openSocket({ type: 'udp', address: '0.0.0.0', port: 0 }) });
      for (const address of [exposed.localhost, dns!.address]) from.send('let me in', port, address);
      // What is sent behind it arrives behind it.
      mustHold("the guest still finds 'web'", (await lookUp(guest.netns, dns!.address, 'web')) === WEB);
      from.close();
    });
    mustHold('nothing arrived there', heard === 0);

    const before = resolver.asked.length;
    await step(
      "Somebody on eth0's segment sends frames to 127.0.0.11, and to the address that stands for it",
      [`frames to ${net.guest.mac} with destination 127.0.0.11:${udp} and ${dns!.address}:53`],
      async () => {
        for (const [to, port] of [
          ['127.0.0.11', udp],
          ['127.0.0.11', 53],
          [dns!.address, 53],
          ['127.0.0.1', secret.address().port],
        ] as const)
          // prettier-ignore
          await sendFrame(node, 'br-net', net.guest.mac, { to, from: '172.18.0.66', port, payload: question('web') });
        mustHold("the guest still finds 'web'", (await lookUp(guest.netns, dns!.address, 'web')) === WEB);
      },
    );
    mustHold(
      'the resolver was asked by the guest alone',
      resolver.asked.slice(before).every((who) => who.startsWith('127.')),
    );
    mustHold('and nothing arrived at the other port', heard === 0);
  } finally {
    secret.close();
  }
  if (exposed.backend === 'ebpf') {
    const { counters } = await net.stats();
    print(['what passed:', ...Object.entries(counters).flatMap(([name, { packets }]) => (packets > 0n ? [`  ${name}: ${packets}`] : []))].join('\n')); // prettier-ignore
  }
} finally {
  await guest.close();
}

const report = await step('Undo', ['net.undo()'], () => net.undo());
show('report', report);
mustHold('nothing was left behind', report.state === 'undone' && report.leftBehind.length === 0);
mustHold('links, addresses, routes, rules and neighbours are what they were', compare(untouched, await dump(pod)) === 0);
mustHold("the container's own processes find 'web' as ever", (await lookUp(pod, '127.0.0.11', 'web')) === WEB);
console.log('\nScene 6 showed what it must.');
