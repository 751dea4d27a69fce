// A resource is a keyed value of a namespace: an address, a route, one setting of an interface. A key says what it is, the value what
// it is like. Keys are made here and nowhere else, in the kernel's own spelling of addresses and prefixes.
import { canonicalCidr } from '../wire/prefix.js';
import type { Value } from './value.js';

export type { Value } from './value.js';

export type ResourceKind =
  | 'link'
  | 'setting'
  | 'address'
  | 'route'
  | 'rule'
  | 'neighbor'
  | 'proxy'
  | 'fdb'
  | 'qdisc'
  | 'filter'
  | 'tcx'
  | 'localhost'
  | 'nft'
  | 'sysctl';

export interface Resource {
  readonly kind: ResourceKind;
  /** 'address/3/10.1.0.2/24'. */
  readonly key: string;
  /** The interface that it hangs on. */
  readonly link?: number;
  /** Resources of one group stand in an order that means something: the kernel asks the first one first. */
  readonly group?: string;
  readonly value: Value;
  /** As the kernel told it: not kept, and not compared. */
  readonly read?: object;
}

export function kindOfKey(key: string): ResourceKind {
  return key.slice(0, key.indexOf('/')) as ResourceKind;
}

/** The interface in a key of those kinds that hang on one. */
export function linkOfKey(key: string): number | undefined {
  const match = /^(?:link|setting|address|neighbor|proxy|fdb|qdisc|filter|tcx|localhost)\/(\d+)/.exec(key);
  return match === null ? undefined : Number(match[1]);
}

export const keys = {
  link: (ifindex: number) => `link/${ifindex}`,
  setting: (ifindex: number, field: string) => `setting/${ifindex}/${field}`,
  address: (ifindex: number, address: string, peer?: string) =>
    `address/${ifindex}/${canonicalCidr(address)}${peer === undefined ? '' : ` peer ${canonicalCidr(peer).replace(/\/.*/, '')}`}`,
  neighbor: (ifindex: number, address: string) => `neighbor/${ifindex}/${address}`,
  proxy: (ifindex: number, address: string) => `proxy/${ifindex}/${address}`,
  fdb: (ifindex: number, mac: string) => `fdb/${ifindex}/${mac}/`,
  /** ingress and clsact hang in the same place, of which there is one. */
  qdisc: (ifindex: number, parent: string) => `qdisc/${ifindex}/${parent === 'ingress' || parent === 'clsact' ? 'ffff:fff1' : parent}`,
  filter: (ifindex: number) => `filter/${ifindex}/`,
  /** Programs by their name: without the id at the end, any of that name. */
  tcx: (ifindex: number, direction: string, name: string, id?: number) => `tcx/${ifindex}/${direction}/${name}/${id ?? ''}`,
  /** What the guests of a plumbing reach of the pod's localhost: by the pod's interface. */
  localhost: (ifindex: number) => `localhost/${ifindex}`,
  /** podtap's own table of nftables, by the pod's interface, whose index outlives it in the table's name. */
  nft: (ifindex: number) => `nft/${ifindex}`,
  rule: (family: string) => `rule/${family}/`,
  sysctl: (key: string) => `sysctl/${key}`,
};
