// What a backend of the pod's localhost must do, whichever it is: functions over one, with real frames and sockets.
import type { Netns } from 'podtap';
import { ping } from 'podtap/lab';
import type { Test } from 'tap';
import type { LocalhostConfig } from '../../lib/localhost/config.js';
import { until } from '../support/inside.js';
import { DNS, LOCAL, NODE, POD, type World, type WorldOptions, worldOf } from './world.js';

export interface Backend {
  readonly name: string;
  /** What stands on the way is there: the datapath, the route, the sysctls. */
  attach(pod: Netns, config: LocalhostConfig): Promise<void>;
  /** Another configuration, in place of the one before. */
  configure(pod: Netns, config: LocalhostConfig): Promise<void>;
}

/** The pod's services, and somebody outside. */
async function serve({ sidecar, outside }: World): Promise<void> {
  await sidecar.serve('udp', '127.0.0.11', 40_053, 'dns ');
  await sidecar.serve('tcp', '127.0.0.11', 40_054, 'dns ');
  await sidecar.serve('tcp', '127.0.0.1', 8080, 'web ');
  await sidecar.serve('udp', '127.0.0.1', 8181, 'big ', 4000);
  await sidecar.serve('tcp', '127.0.0.1', 15_042, 'range ');
  await outside.serve('udp', NODE.address, 7001);
  await outside.serve('tcp', NODE.address, 7000);
}

export async function withWorld(t: Test, backend: Backend, options: WorldOptions): Promise<World> {
  const world = await worldOf(t, options);
  await serve(world);
  await backend.attach(world.pod, world.config);
  return world;
}

/** The first exchange may meet neighbours that are not known yet. */
async function answers(t: Test, what: string, wanted: string, ask: () => Promise<string | undefined>): Promise<void> {
  let said: string | undefined;
  await until(async () => (said = await ask()) === wanted);
  t.equal(said, wanted, what);
}

/** One guest: services by alias, whatever the datapath, and with checksums and segments left open or not. */
export async function services(t: Test, backend: Backend, options: WorldOptions): Promise<void> {
  const world = await withWorld(t, backend, options);
  const { agent, netns } = world.guests[0]!;
  await answers(t, 'UDP', 'dns hello', () => agent.says('udp', DNS, 53, { expect: 9 }));
  await answers(t, 'TCP', 'dns hello', () => agent.says('tcp', DNS, 53, { expect: 9 }));
  await answers(t, 'TCP, the same port', 'web hello', () => agent.says('tcp', LOCAL, 8080, { expect: 9 }));
  await answers(t, 'TCP, a range', 'range hello', () => agent.says('tcp', LOCAL, 5042, { expect: 11 }));
  t.match(await agent.ask('udp', LOCAL, 8181, { size: 3000 }), { length: 4000 }, 'fragments both ways');
  t.match(
    await agent.ask('tcp', LOCAL, 8080, { size: 3_000_000, expect: 3_000_004, timeout: 20 }),
    { length: 3_000_004, whole: true },
    'a long answer',
  );
  t.equal(await agent.says('udp', LOCAL, 4444), 'ConnectionRefusedError', 'an ICMP error comes back');
  t.equal(await agent.says('tcp', LOCAL, 5001), 'ConnectionRefusedError', 'a reset comes back');
  t.equal((await ping(netns, DNS, { timeout: 2000 })).received, 1, 'an alias answers echo requests');
  t.equal((await ping(netns, `${DNS}7`, { timeout: 300 })).received, 0, 'nobody’s alias does not');
  // By the datapath, as before.
  await answers(t, 'to the world', 'hello', () => agent.says('udp', NODE.address, 7001));
  await agent.serve('tcp', '0.0.0.0', 9555, 'guest ');
  await answers(t, 'from the world', 'guest hello', () => world.outside.says('tcp', POD.address, 9555, { expect: 11 }));
}
