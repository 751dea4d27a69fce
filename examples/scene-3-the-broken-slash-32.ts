// Scene 3: the broken /32.
//
// Pods have addresses of /32, and everything between them goes through a router that knows by heart at which MAC each pod is: that of its
// eth0. A guest with a MAC of its own is never asked for it, and so is never found.
import { type Netns, plumb } from 'podtap';
import { ping, runGuest } from 'podtap/lab';
import { FIRST_MAC, SERVER, capture, createCluster, ownerOf, short, showFrame } from './slash32.js';
import { answers, mustHold, show, step, title } from './stage.js';

title('Scene 3: a guest with a random MAC in a pod with a /32');
await using cluster = await createCluster();
const { client, pod } = cluster;
mustHold("172.17.0.4 pings 172.17.0.5 through the router: the pod's own stack answers", await answers(client, '172.17.0.5'));

await using net = await step(
  'Plumb the pod, and give the guest a random MAC',
  ["plumb(pod, { tap: 'tap100', mode: 'bridge', guestMac: 'random' })"],
  () => plumb(pod, { tap: 'tap100', mode: 'bridge', guestMac: 'random', label: 'scene/3' }),
);
show('address, gateway', [net.guest.addresses.map(({ address }) => address), net.guest.gateway.ipv4]);
show("the guest's MAC, and eth0's", [short(net.guest.mac), short(FIRST_MAC)]);
const guest = await step("Run the guest on tap100 with eth0's configuration", [], () => runGuest(net.tap, net.guest));
try {
  mustHold('nothing is wrong with the wires', (await net.verify()).ok);

  const { received, onEth0, onTap } = await step(
    'The other pod pings the guest',
    ['ip netns exec CLIENT ping -c 3 172.17.0.5'],
    async () => {
      let received = 0;
      let onTap: Awaited<ReturnType<typeof capture>> = [];
      const onEth0 = await capture(pod, 'eth0', async () => {
        onTap = await capture(pod, 'tap100', async () => {
          ({ received } = await ping(client, '172.17.0.5', { count: 3, interval: 100, timeout: 500 }));
        });
      });
      return { received, onEth0, onTap };
    },
  );
  mustHold('three requests, no reply: the ping fails', received === 0);

  await step('Why? A capture on eth0 shows the request arriving in the pod', ['tcpdump -eni eth0 icmp'], async () => undefined);
  mustHold("three requests came to the pod's eth0", onEth0.length === 3);
  const [frame] = onEth0;
  await showFrame(frame!, pod, net.guest);
  mustHold(
    'they are addressed to the first MAC of eth0, which the router knows by heart',
    onEth0.every(({ to }) => to === FIRST_MAC),
  );
  mustHold('eth0 has that MAC, and the guest has another one', (await ownerOf(pod, FIRST_MAC, net.guest)).startsWith('eth0;'));
  mustHold('so the bridge takes them for its own host, which has no use for them: none went out by tap100', onTap.length === 0);
  mustHold('what the guest asks others for comes back the same wrong way', !(await isAnswered(guest.netns)));
} finally {
  await guest.close();
}

const report = await step('Undo', ['net.undo()'], () => net.undo());
show('report', report);
mustHold("172.17.0.4 pings 172.17.0.5 again: the pod's own stack has the MAC that the router knows", await answers(client, '172.17.0.5'));
console.log('\nScene 3 showed what it must.');

/** Whether the guest gets an answer from a server behind the node. */
async function isAnswered(from: Netns): Promise<boolean> {
  return (await ping(from, SERVER, { count: 3, interval: 100, timeout: 500 })).received > 0;
}
