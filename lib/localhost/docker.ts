// Docker's resolver in a container's namespace: it listens on two ports of 127.0.0.11 that are chosen anew whenever the container starts or
// dockerd does, and 53 exists only as a translation in the namespace's nat OUTPUT chain, which a guest's packets do not pass.
import { type SocketInfo, listSockets } from '../kernel/diag.js';
import type { Scope } from '../kernel/netns.js';
import { DNS_PORT, DOCKER_ADDRESS, type RealPorts } from './services.js';

/** Where it listens now; a protocol that it does not is absent. */
export async function dockerPorts(scope: Scope): Promise<RealPorts> {
  return resolverPorts(await listSockets(scope));
}

/** Of several sockets on that address, the one on 53 if there is one, else the one with the lowest port. */
export function resolverPorts(sockets: readonly SocketInfo[]): RealPorts {
  const of = (protocol: 'tcp' | 'udp'): number | undefined => {
    const ports = sockets.filter((one) => one.protocol === protocol && one.open && one.address === DOCKER_ADDRESS).map(({ port }) => port);
    return ports.includes(DNS_PORT) ? DNS_PORT : ports.sort((a, b) => a - b)[0];
  };
  const [tcp, udp] = [of('tcp'), of('udp')];
  return { ...(tcp !== undefined && { tcp }), ...(udp !== undefined && { udp }) };
}

export function isSame(a: RealPorts, b: RealPorts): boolean {
  return a.tcp === b.tcp && a.udp === b.udp;
}
