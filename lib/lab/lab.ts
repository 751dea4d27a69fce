import * as v from 'valibot';
import { boolean, check, cidr, ip, optional, options, prefix } from '../check.js';
import { invalidArgument } from '../errors.js';
import { Netns } from '../kernel/netns.js';
import { listAddresses } from '../primitive/address.js';
import { createVeth, getLink } from '../primitive/link.js';
import { addRoute, listRoutes } from '../primitive/route.js';
import { setSysctl } from '../primitive/sysctl.js';

export interface LabDescription<N extends string> {
  /** A namespace each. `forward`: it forwards, IPv4 and IPv6. */
  readonly nodes: Readonly<Record<N, { readonly forward?: boolean }>>;
  /** A veth pair each, between two nodes: their addresses on it, with prefix lengths; several separated by spaces, none as ''. Interfaces are eth0, eth1, ... in each node, in the order of the links. */
  readonly links: readonly { readonly [K in N]?: string }[];
  /** For each node, gateways by destination: { client: { default: '10.0.1.1' } }. */
  readonly routes?: Readonly<Partial<Record<N, Readonly<Record<string, string>>>>>;
}

const addresses = v.pipe(
  v.string('must be addresses with prefix lengths'),
  v.check(
    (text) => split(text).every((word) => v.is(cidr, word)),
    "must be addresses with prefix lengths such as '10.0.1.2/24', separated by spaces",
  ),
);
const destination = v.pipe(v.string(), v.check((text) => v.is(prefix, text), "must be a prefix such as '10.1.0.0/16', or 'default'")); // prettier-ignore
function split(text: string): string[] {
  return text.split(' ').filter((word) => word !== '');
}

const schema = options({
  nodes: v.record(v.string(), options({ forward: optional(boolean) }), 'must be the nodes, by name'),
  links: v.array(
    v.pipe(
      v.record(v.string(), addresses, 'must be addresses by node'),
      v.check((ends) => Object.keys(ends).length === 2, 'must name two nodes: a link is a veth pair'),
    ),
    'must be an array of links',
  ),
  routes: optional(v.record(v.string(), v.record(destination, ip, 'must be gateways by destination'), 'must be routes by node')),
});

/**
 * Namespaces joined by veth pairs, up, addressed and routed, in one call; torn down in one (`await using`). What podtap's own tests
 * and scenes stand on. Runs wherever namespaces can be made: as root, or under `node --import podtap/unprivileged`.
 *
 * @example
 * await using lab = await createLab({
 *   nodes: { client: {}, router: { forward: true }, server: {} },
 *   links: [{ client: '10.0.1.2/24', router: '10.0.1.1/24' }, { router: '10.0.2.1/24', server: '10.0.2.2/24' }],
 *   routes: { client: { default: '10.0.1.1' }, server: { default: '10.0.2.1' } },
 * });
 * await ping(lab.client, '10.0.2.2');
 */
export async function createLab<const N extends string>(lab: LabDescription<N>): Promise<Record<N, Netns> & AsyncDisposable> {
  const { nodes, links, routes = {} } = check(schema, lab, 'createLab');
  for (const name of [...links.flatMap((ends) => Object.keys(ends)), ...Object.keys(routes)]) {
    if (!Object.hasOwn(nodes, name))
      throw invalidArgument('ERR_INVALID_ARG_VALUE', `createLab: there is no node '${name}'; there are ${Object.keys(nodes).join(', ')}`);
  }
  const made = new Map<string, Netns>();
  const dispose = async (): Promise<void> => {
    for (const node of made.values()) await node.close();
  };
  try {
    const wide = links.some((ends) => Object.values(ends).some((text) => String(text).includes(':')));
    for (const [name, { forward }] of Object.entries(nodes)) {
      const node = await Netns.create();
      made.set(name, node);
      // A router asks for its neighbours from its link-local address, and not before that has passed duplicate address detection.
      if (wide) await setSysctl(node, 'net.ipv6.conf.default.accept_dad', 0);
      for (const family of forward === true ? ['ipv4', 'ipv6'] : []) await setSysctl(node, `net.${family}.conf.all.forwarding`, 1);
    }
    const interfaces = new Map<string, string[]>(Object.keys(nodes).map((name) => [name, []]));
    // The kernel sets a carrier at once only where a link's index differs from its peer's, and else within a second (linkwatch), and
    // drops what is sent before: so no two indexes of a lab are equal.
    let ifindex = 100;
    const next = (node: string): { name: string; ifindex: number } => {
      const names = interfaces.get(node)!;
      const name = `eth${names.length}`;
      names.push(name);
      return { name, ifindex: ++ifindex };
    };
    for (const ends of links) {
      const [[near, own], [far, theirs]] = Object.entries(ends) as [[string, string], [string, string]];
      const { name, ...index } = next(near);
      await createVeth(made.get(near)!, name, {
        ...index,
        up: true,
        addresses: split(own),
        peer: { scope: made.get(far)!, ...next(far), up: true, addresses: split(theirs) },
      });
    }
    for (const [name, table] of Object.entries(routes)) {
      for (const [dst, via] of Object.entries(table))
        await addRoute(made.get(name)!, { dst: dst === 'default' && via.includes(':') ? '::/0' : dst, via });
    }
    for (const [node, names] of interfaces) for (const name of names) await waitRunning(made.get(node)!, name, wide);
  } catch (error) {
    await dispose();
    throw error;
  }
  return { ...(Object.fromEntries(made) as Record<N, Netns>), [Symbol.asyncDispose]: dispose };
}

/**
 * Until frames cross it: IF_OPER_UP comes a moment after the carrier, the link-local address after that, and last, from a work queue of
 * the kernel, the local routes by which it takes what is sent to its IPv6 addresses.
 */
async function waitRunning(node: Netns, name: string, wide: boolean): Promise<void> {
  const ready = async (): Promise<boolean> => {
    if ((await getLink(node, name))?.operstate !== 'UP') return false;
    if (!wide) return true;
    const addresses = await listAddresses(node, { link: name, family: 'ipv6' });
    const local = new Set((await listRoutes(node, { link: name, family: 'ipv6', table: RT_TABLE_LOCAL })).map(({ dst }) => dst));
    return (
      addresses.some(({ scope }) => scope === 'link') && addresses.every(({ address }) => local.has(address.replace(/\/\d+$/, '/128')))
    );
  };
  while (!(await ready())) await new Promise((resolve) => setTimeout(resolve, 1));
}
const RT_TABLE_LOCAL = 255;
