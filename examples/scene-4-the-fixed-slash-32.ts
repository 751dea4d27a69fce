// Scene 4: the fixed /32.
//
// The pods of scene 3, but now the guest adopts the MAC that eth0 had at first, and eth0 gives it up: the router's entry leads to it.
import { plumb } from 'podtap';
import { ping, runGuest } from 'podtap/lab';
import { FIRST_MAC, GATEWAY, SERVER, capture, createCluster, ownerOf, short, showFrame } from './slash32.js';
import { answers, mustHold, show, step, title } from './stage.js';
import { fetchPage } from './web.js';

const PAGE = 'Hello from elsewhere\n';

title("Scene 4: a guest with eth0's MAC in a pod with a /32");
await using cluster = await createCluster();
const { client, pod, server } = cluster;
mustHold("172.17.0.4 pings 172.17.0.5 through the router: the pod's own stack answers", await answers(client, '172.17.0.5'));

await using net = await step(
  "Plumb the pod; the guest adopts eth0's MAC, and eth0 gets another one",
  ["plumb(pod, { tap: 'tap100', mode: 'bridge', guestMac: 'clone' })"],
  () => plumb(pod, { tap: 'tap100', mode: 'bridge', guestMac: 'clone', label: 'scene/4' }),
);
show('address, gateway', [net.guest.addresses.map(({ address }) => address), net.guest.gateway.ipv4]);
show("the guest's MAC", short(net.guest.mac));
mustHold('it is the one that the router knows', net.guest.mac === FIRST_MAC);
mustHold('eth0 has it no more', !(await ownerOf(pod, FIRST_MAC, net.guest)).startsWith('eth0;'));
const guest = await step("Run the guest on tap100 with eth0's configuration", [], () => runGuest(net.tap, net.guest));
try {
  mustHold('the wire is plugged in: the other pod is answered', await answers(client, '172.17.0.5'));
  const { received, onTap } = await step('The other pod pings the guest', ['ip netns exec CLIENT ping -c 3 172.17.0.5'], async () => {
    let received = 0;
    const onTap = await capture(pod, 'tap100', async () => {
      ({ received } = await ping(client, '172.17.0.5', { count: 3, interval: 100, timeout: 2000 }));
    });
    return { received, onTap };
  });
  mustHold('three requests, three replies', received === 3);
  await showFrame(onTap[0]!, pod, net.guest);
  mustHold('they went out by tap100, addressed to the guest', onTap.length === 3 && onTap.every(({ to }) => to === net.guest.mac));

  const page = await step(
    `The guest opens a connection through ${GATEWAY}, which is not on its own subnet`,
    [`ip netns exec GUEST curl http://${SERVER}/`],
    () => fetchPage(guest.netns, server, SERVER, PAGE),
  );
  show('page', page);
  mustHold('it is the page of a server behind the node', page === PAGE);
} finally {
  await guest.close();
}

const report = await step('Undo', ['net.undo()'], () => net.undo());
show('report', report);
mustHold("172.17.0.4 pings 172.17.0.5: the pod's own stack answers again", await answers(client, '172.17.0.5'));
console.log('\nScene 4 showed what it must.');
