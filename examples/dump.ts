// What ip(8) would print of a namespace, read by podtap; and two such pictures beside each other.
import { type Netns, type Route, listAddresses, listFdb, listLinks, listNeighbors, listRoutes, listRules } from 'podtap';

/** Links, addresses, routes of every table, rules, and the neighbours that somebody has set (what was learned comes and goes by itself). */
export async function dump(netns: Netns): Promise<string[]> {
  const links = await listLinks(netns);
  const name = (ifindex: number | undefined): string => links.find((link) => link.ifindex === ifindex)?.name ?? `if${ifindex}`;
  const lines: string[] = [];
  for (const { ifindex, name: own, kind, flags, mtu, mac, master, addrGenMode } of links)
    lines.push(
      `link ${ifindex}: ${own} <${flags.join(',')}> kind ${kind} mtu ${mtu} address ${mac}${addrGenMode === undefined ? '' : ` addrgenmode ${addrGenMode}`}${master === undefined ? '' : ` master ${name(master)}`}`, // prettier-ignore
    );
  for (const { address, ifindex, scope, flags = [], validLifetime } of await listAddresses(netns))
    lines.push(`address ${address} dev ${name(ifindex)} scope ${scope}${flags.map((flag) => ` ${flag}`).join('')}${validLifetime === undefined ? '' : ' dynamic'}`); // prettier-ignore
  for (const route of await listRoutes(netns, { table: 'all' })) lines.push(`route ${told(route, name)}`);
  for (const { priority, from, to, table } of await listRules(netns)) lines.push(`rule ${priority}: from ${from ?? 'all'} to ${to ?? 'all'} lookup ${table}`); // prettier-ignore
  for (const { address, ifindex, mac, state } of await listNeighbors(netns))
    if (state === 'permanent') lines.push(`neigh ${address} dev ${name(ifindex)} lladdr ${mac} PERMANENT`);
  for (const { mac, ifindex, state } of await listFdb(netns)) lines.push(`fdb ${mac} dev ${name(ifindex)} ${state}`);
  return lines.sort();
}

function told(
  { type = 'unicast', dst, via, dev, table, protocol, scope, src, metric, onlink }: Route,
  name: (ifindex: number) => string,
): string {
  // prettier-ignore
  const words: (string | false)[] = [
    type !== 'unicast' && type,
    dst,
    via !== undefined && `via ${via}`,
    dev !== undefined && `dev ${typeof dev === 'number' ? name(dev) : dev}`,
    `table ${table} proto ${protocol} scope ${scope}`,
    src !== undefined && `src ${src}`,
    metric !== undefined && metric !== 0 && `metric ${metric}`,
    onlink === true && 'onlink',
  ];
  return words.filter((word) => word !== false).join(' ');
}

/** '-' what is only in the first, '+' what is only in the second. */
export function differences(before: readonly string[], after: readonly string[]): string[] {
  const rest = [...after];
  const gone = before.filter((line) => {
    const at = rest.indexOf(line);
    if (at >= 0) rest.splice(at, 1);
    return at < 0;
  });
  return [...gone.map((line) => `- ${line}`), ...rest.map((line) => `+ ${line}`)];
}

/** Shows what is different. How many lines that is. */
export function compare(before: readonly string[], after: readonly string[]): number {
  const found = differences(before, after);
  for (const line of found) console.log(`     ${line}`);
  const same = before.length - found.filter((line) => line.startsWith('-')).length;
  console.log(`   ${same} of ${before.length} lines are the same as before, ${found.length === 0 ? 'and nothing is different' : `${found.length} different`}`); // prettier-ignore
  return found.length;
}
