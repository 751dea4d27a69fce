// What dockerd does in a container's namespace besides its resolver: port 53 of 127.0.0.11 exists only as a translation, in the chains that
// what the container's own processes send passes; what a guest sends does not.
import { once } from 'node:events';
import type { Netns } from 'podtap';

export function rulesOf({ udp, tcp }: { readonly udp: number; readonly tcp: number }): readonly string[] {
  return [
    'iptables -t nat -N DOCKER_OUTPUT',
    'iptables -t nat -N DOCKER_POSTROUTING',
    'iptables -t nat -A OUTPUT -d 127.0.0.11 -j DOCKER_OUTPUT',
    'iptables -t nat -A POSTROUTING -d 127.0.0.11 -j DOCKER_POSTROUTING',
    `iptables -t nat -A DOCKER_OUTPUT -d 127.0.0.11 -p tcp --dport 53 -j DNAT --to-destination 127.0.0.11:${tcp}`,
    `iptables -t nat -A DOCKER_OUTPUT -d 127.0.0.11 -p udp --dport 53 -j DNAT --to-destination 127.0.0.11:${udp}`,
    `iptables -t nat -A DOCKER_POSTROUTING -s 127.0.0.11 -p tcp --sport ${tcp} -j SNAT --to-source :53`,
    `iptables -t nat -A DOCKER_POSTROUTING -s 127.0.0.11 -p udp --sport ${udp} -j SNAT --to-source :53`,
  ];
}

/** By the program that dockerd runs for it. */
export async function translate(pod: Netns, ports: { readonly udp: number; readonly tcp: number }): Promise<void> {
  for (const rule of rulesOf(ports)) {
    const [command = '', ...words] = rule.split(' ');
    const child = await pod.spawn(command, words, { stdio: ['ignore', 'ignore', 'inherit'] });
    const [code] = (await once(child, 'exit')) as [number | null];
    if (code !== 0) throw new Error(`${rule}: ended with ${code}`);
  }
}
