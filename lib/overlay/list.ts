import * as v from 'valibot';
import { type Schema, array, check } from '../check.js';
import { OverlayError } from './error.js';
import { type OverlayEnd, type OverlayNetwork, type OverlayNode, givenNode, vtepMacOf } from './node.js';
import type { Joining, OverlayMembership, OverlayRegistry } from './registry.js';
import { type Family, families, parseAddress, formatAddress, parseSubnet } from './subnet.js';

/** A node as a caller lists it. A VTEP MAC that is left out follows from the subnet, alike on every node. */
export interface ListedNode {
  readonly ipv4?: Omit<OverlayEnd, 'vtepMac'> & { readonly vtepMac?: string };
  readonly ipv6?: Omit<OverlayEnd, 'vtepMac'> & { readonly vtepMac?: string };
}

/** A registry that is a list in memory; `update` replaces it. */
export interface NodeList extends OverlayRegistry {
  readonly nodes: readonly OverlayNode[];
  /** Every overlay that was joined by this list follows. Throws TypeError, and changes nothing, where an entry is wrong. */
  update(nodes: readonly ListedNode[]): void;
}

const schema = array(givenNode as unknown as Schema<ListedNode>);

/**
 * A registry given by the caller: the nodes, this one among them (found by its public address).
 *
 * @throws TypeError ERR_INVALID_ARG_*
 * @example const nodes = nodeList([{ ipv4: { subnet: '10.244.1.0/24', publicIp: '192.161.1.5' } }, { ipv4: { subnet: '10.244.3.0/24', publicIp: '192.160.0.6' } }])
 */
export function nodeList(nodes: readonly ListedNode[]): NodeList {
  let known = read('nodeList', nodes, new Map());
  let listed: readonly OverlayNode[] = [...known.values()];
  const followers = new Set<() => void>();
  return {
    get nodes() {
      return listed;
    },
    update(next) {
      known = read('nodeList.update', next, known);
      listed = [...known.values()];
      for (const changed of [...followers]) changed();
    },
    async network(): Promise<OverlayNetwork> {
      return { families: families.filter((family) => listed.some((node) => node[family] !== undefined)) };
    },
    async join(joining, changed): Promise<OverlayMembership> {
      const found = find(listed, joining);
      if (found === undefined) throw notListed(joining);
      let self = found;
      followers.add(changed);
      return {
        get self() {
          return (self = find(listed, joining) ?? self);
        },
        get nodes() {
          // A node that was taken off the list has no part in it.
          return find(listed, joining) === undefined ? NOBODY : listed;
        },
        get problems() {
          return find(listed, joining) === undefined ? [notListed(joining)] : [];
        },
        async leave() {
          followers.delete(changed);
        },
      };
    },
  };
}

const NOBODY: readonly OverlayNode[] = [];

type Known = ReadonlyMap<string, OverlayNode>;

/** An entry that is as it was before is not looked at again, and is the same object. */
function read(where: string, nodes: readonly ListedNode[], known: Known): Known {
  const whole: (readonly [text: string, node: OverlayNode | undefined])[] = check(array(anything), nodes, where).map((node) => {
    const text = written(node);
    return [text, known.get(text)];
  });
  const fresh = whole.some(([, node]) => node === undefined);
  // All of them, so that an error says which one it is.
  const checked = fresh ? check(schema, nodes.map((node, at) => (whole[at]![1] === undefined ? node : RIGHT)), where) : []; // prettier-ignore
  return new Map(whole.map(([text, node], at) => [text, node ?? complete(checked[at]!)]));
}
/** '' where it cannot be: the check says why. */
function written(node: unknown): string {
  try {
    return JSON.stringify(node);
  } catch {
    return '';
  }
}
const anything = v.any() as unknown as Schema<unknown>;
/** Stands for an entry that was checked before. */
const RIGHT: ListedNode = { ipv4: { subnet: '10.244.0.0/24', publicIp: '10.0.0.1' } };

function complete(node: ListedNode): OverlayNode {
  const ends = families.flatMap((family): [Family, OverlayEnd][] => {
    const end = node[family];
    if (end === undefined) return [];
    const publicIp = formatAddress(family, parseAddress(family, end.publicIp)!);
    return [[family, { subnet: parseSubnet(end.subnet)!.text, publicIp, vtepMac: end.vtepMac ?? vtepMacOf(end.subnet) }]];
  });
  return Object.fromEntries(ends);
}

function find(nodes: readonly OverlayNode[], joining: Joining): OverlayNode | undefined {
  return nodes.find((node) =>
    families.some((family) => joining[family] !== undefined && node[family]?.publicIp === joining[family].publicIp),
  );
}

function notListed(joining: Joining): OverlayError {
  const addresses = families.flatMap((family) => joining[family]?.publicIp ?? []).join(', ');
  return new OverlayError('ERR_OVERLAY_NOT_LISTED', `the list of nodes has none at ${addresses}, which is this one`, { about: addresses });
}
