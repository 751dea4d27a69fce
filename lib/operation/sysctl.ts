import { text } from '../check.js';
import { keys } from '../state/resource.js';
import type { Link } from '../wire/link.js';
import { type OperationKind, operation, words } from './operation.js';
import type { Touching } from './touching.js';

export interface SysctlSet {
  readonly op: 'sysctl.set';
  /** 'net.ipv4.conf.eth0.rp_filter'; a dot in an interface's name is written as '/'. */
  readonly key: string;
  readonly value: string;
}

export const sysctlSet: OperationKind<SysctlSet> = {
  schema: operation('sysctl.set', { key: text, value: text }),
  links: () => [],
  requests: ({ key, value }) => [{ by: 'sysctl', key, value }],
  parts: ({ key }) => (touchesIpv6(key) ? ['address', 'route', 'neighbor', 'proxy'] : []),
  touches: ({ key, value }, on) => {
    on.will(keys.sysctl(key), value, value.trim());
    for (const other of alsoSet(key, [...on.state.links.values()])) on.mayChange(keys.sysctl(other));
    if (!touchesIpv6(key)) return;
    for (const { ifindex } of linksOf(key, on)) {
      on.mayLose(ifindex, 'ipv6');
      on.mayChange(keys.setting(ifindex, 'ipv6Mtu'));
    }
  },
  sysctls: ({ key }, links) => [key, ...alsoSet(key, links)],
  command: ({ key, value }) => words('sysctl', '-w', `${key}=${value}`),
};

/** disable_ipv6 takes what an interface has of IPv6; forwarding takes the default routes that routers have announced. */
function touchesIpv6(key: string): boolean {
  return /^net\.ipv6\.conf\.[^.]+\.(disable_ipv6|forwarding)$/.test(key);
}

/** Set for all, some are set for each: inet_forward_change(), addrconf_fixup_forwarding(), addrconf_disable_ipv6(). */
function alsoSet(key: string, links: readonly Link[]): string[] {
  const family = /^net\.(ipv[46])\.(?:ip_forward|conf\.all\.(forwarding|disable_ipv6))$/.exec(key);
  if (family === null) return [];
  const [, version, name = 'forwarding'] = family;
  if (version === 'ipv4' && name === 'disable_ipv6') return [];
  const each = [...links.map((link) => link.name.replaceAll('.', '/')), 'default', 'all'].map(
    (one) => `net.${version}.conf.${one}.${name}`,
  );
  return [...each.filter((one) => one !== key), ...(version === 'ipv4' ? ['net.ipv4.ip_forward', 'net.ipv4.conf.all.accept_redirects'] : [])].filter((one) => one !== key); // prettier-ignore
}

function linksOf(key: string, on: Touching): readonly Link[] {
  const name = key.split('.')[3]!.replaceAll('/', '.');
  const all = [...on.state.links.values()];
  return name === 'all' ? all : all.filter((link) => link.name === name);
}
