// Scene 7: several guests in one pod.
//
// The pod has one address, and each guest a stack and a TAP of its own. What comes in goes to the guest that owns the port; what a guest
// starts finds its way back to it, also when two use the same source port at once; guests and sidecars reach each other by localhost.
import { Netns, addAddress, addRoute, createBridge, createVeth, plumb, setSysctl } from 'podtap';
import { type Guest, runGuest } from 'podtap/lab';
import { compare, dump } from './dump.js';
import { answers, mustHold, print, show, step, title } from './stage.js';
import { echo, exchange, hear, say } from './talk.js';

const POD = '172.17.0.5';
const NODE = '172.17.0.1';
const SAME_PORT = 5555;
const QUESTIONS = 200;

title('Scene 7: three guests and a sidecar share the address of one pod');
await using node = await Netns.create();
await using pod = await Netns.create();
await step(
  'A node with the bridge k8s_br0, and a pod on it: 172.17.0.5',
  [
    'ip link add k8s_br0 type bridge; ip address add 172.17.0.1/16 dev k8s_br0; ip link set k8s_br0 up',
    'ip link add veth5 master k8s_br0 type veth peer name eth0 netns POD; ip link set veth5 up',
    'ip -n POD address add 172.17.0.5/16 dev eth0; ip -n POD route add default via 172.17.0.1',
  ],
  async () => {
    await createBridge(node, 'k8s_br0', { up: true });
    await addAddress(node, 'k8s_br0', `${NODE}/16`);
    await setSysctl(pod, 'net.ipv6.conf.default.accept_dad', 0);
    // prettier-ignore
    await createVeth(node, 'veth5', { master: 'k8s_br0', up: true, peer: { scope: pod, name: 'eth0', addresses: [`${POD}/16`], up: true } });
    await addRoute(pod, { dst: 'default', via: NODE });
  },
);
mustHold("the node pings 172.17.0.5: the pod's own stack answers", await answers(node, POD));
const untouched = await dump(pod);

await using net = await step(
  "Plumb the pod for the first guest, and let guests reach the sidecar's port 8080",
  ["plumb(pod, { tap: 'tap0', localhost: { services: ['127.0.0.1:8080/tcp'] }, label: 'scene/7' })"],
  () => plumb(pod, { link: 'eth0', tap: 'tap0', localhost: { services: ['127.0.0.1:8080/tcp'] }, label: 'scene/7' }),
);
const { localhost, backend, why } = net.localhost!;
show('carried by', `${backend} (${why})`);
show('localhost, for guests', localhost);
for (const [name, port] of [
  ['red', 8001],
  ['blue', 8002],
] as const)
  // prettier-ignore
  await step(`A further guest, '${name}', owns port ${port}`, [`net.addGuest({ name: '${name}', ports: ['${port}/tcp'] })`], () =>
    net.addGuest({ name, ports: [`${port}/tcp`] }),
  );
show(
  'guests',
  net.guests.map(({ name, ports, tap }) => `${name} on ${tap.name}: ${ports.join() || 'all that nobody owns'}`),
);
const verified = await net.verify();
mustHold('everything is as it was made', verified.ok);

const running = new Map<string, Guest>();
try {
  await step('Run the guests, each on its TAP; all have the MAC and the address of the pod', [], async () => {
    for (const { name, tap, guest } of net.guests) running.set(name, await runGuest(tap, guest));
  });
  const [first, red, blue] = ['default', 'red', 'blue'].map((name) => running.get(name)!.netns) as [Netns, Netns, Netns];
  for (const one of [first, red, blue]) mustHold('a guest reaches the gateway', await answers(one, NODE));

  await using _first = await say(first, '0.0.0.0', 7000, 'the first guest');
  await using _red = await say(red, '0.0.0.0', 8001, 'red');
  await using _blue = await say(blue, '0.0.0.0', 8002, 'blue');
  await using _sidecar = await say(pod, '127.0.0.1', 8080, 'the sidecar');
  await step('From outside: each port leads to its guest', [`curl http://${POD}:8001`, '...'], async () => {
    mustHold('port 8001 is red', (await hear(node, POD, 8001)) === 'red');
    mustHold('port 8002 is blue', (await hear(node, POD, 8002)) === 'blue');
    mustHold('a port that nobody owns is the first guest', (await hear(node, POD, 7000)) === 'the first guest');
  });
  await step(`Guests dial ${localhost}, which is localhost to them`, [], async () => {
    mustHold("red reaches blue's port", (await hear(red, localhost, 8002)) === 'blue');
    mustHold("blue reaches red's port", (await hear(blue, localhost, 8001)) === 'red');
    for (const one of [first, red, blue]) mustHold('a guest reaches the sidecar', (await hear(one, localhost, 8080)) === 'the sidecar');
  });
  await step("What runs in the pod dials 127.0.0.1, as kubectl port-forward does, and reaches guests' ports", [], async () => {
    mustHold('127.0.0.1:8001 is red', (await hear(pod, '127.0.0.1', 8001)) === 'red');
    mustHold('127.0.0.1:8002 is blue', (await hear(pod, '127.0.0.1', 8002)) === 'blue');
  });

  await using server = await echo(node, NODE, 9000);
  const both = await step(
    `Red and blue ask the same server from the same source port, ${SAME_PORT}, at the same time, ${QUESTIONS} times each`,
    [],
    () =>
      Promise.all([
        exchange(red, SAME_PORT, { address: NODE, port: 9000 }, 'red', QUESTIONS),
        exchange(blue, SAME_PORT, { address: NODE, port: 9000 }, 'blue', QUESTIONS),
      ]),
  );
  show('as the server sees them', [...server.seen]);
  show('answers', both);
  mustHold("none got the other's", both.every(({ others }) => others === 0)); // prettier-ignore
  mustHold(
    'each got its own, all of them',
    both.every(({ own }) => own === QUESTIONS),
  );

  await step("Blue leaves, while the others run; then 'green' comes, with its port", ["net.removeGuest('blue')", "net.addGuest({ name: 'green', ports: ['8002/tcp'] })"], async () => {
    await running.get('blue')!.close();
    running.delete('blue');
    await net.removeGuest('blue');
    mustHold('red is where it was', (await hear(node, POD, 8001)) === 'red');
    const green = await net.addGuest({ name: 'green', ports: ['8002/tcp'] });
    running.set('green', await runGuest(green.tap, green.guest));
  }); // prettier-ignore
  const green = running.get('green')!.netns;
  mustHold('green reaches the gateway', await answers(green, NODE));
  await using _green = await say(green, '0.0.0.0', 8002, 'green');
  mustHold('port 8002 is green', (await hear(node, POD, 8002)) === 'green');
  if (backend === 'ebpf') {
    const { counters } = await net.stats();
    print(['what passed:', ...Object.entries(counters).flatMap(([name, { packets }]) => (packets > 0n ? [`  ${name}: ${packets}`] : []))].join('\n')); // prettier-ignore
  }
} finally {
  for (const guest of running.values()) await guest.close();
}

const report = await step('Undo: all guests, at once', ['net.undo()'], () => net.undo());
show('report', report);
mustHold('nothing was left behind', report.state === 'undone' && report.leftBehind.length === 0);
mustHold('links, addresses, routes, rules and neighbours are what they were', compare(untouched, await dump(pod)) === 0);
mustHold("the node pings 172.17.0.5: the pod's own stack answers again", await answers(node, POD));
console.log('\nScene 7 showed what it must.');
