import { addressAdd, addressDelete } from './address.js';
import { ebpfAttach, tcxDetach } from './ebpf.js';
import { filterAdd, filterDelete } from './filter.js';
import { linkCreate, linkDelete, linkDeleteGroup, linkSet, vethCreate } from './link.js';
import { localhostNft, localhostNftDelete } from './localhost-nft.js';
import { localhostConfigure, localhostEbpf } from './localhost-ebpf.js';
import { fdbDelete, fdbSet, neighborDelete, neighborSet } from './neighbor.js';
import type { OperationKind } from './operation.js';
import { qdiscAdd, qdiscDelete } from './qdisc.js';
import { routeAdd, routeDelete } from './route.js';
import { ruleAdd, ruleDelete } from './rule.js';
import { sysctlSet } from './sysctl.js';
import { tapCreate } from './tap.js';

/** Every operation there is. */
export const operations = {
  'address.add': addressAdd,
  'address.delete': addressDelete,
  'ebpf.attach': ebpfAttach,
  'fdb.delete': fdbDelete,
  'fdb.set': fdbSet,
  'filter.add': filterAdd,
  'filter.delete': filterDelete,
  'link.create': linkCreate,
  'link.delete': linkDelete,
  'link.deleteGroup': linkDeleteGroup,
  'link.set': linkSet,
  'localhost.configure': localhostConfigure,
  'localhost.ebpf': localhostEbpf,
  'localhost.nft': localhostNft,
  'localhost.nft.delete': localhostNftDelete,
  'neighbor.delete': neighborDelete,
  'neighbor.set': neighborSet,
  'qdisc.add': qdiscAdd,
  'qdisc.delete': qdiscDelete,
  'route.add': routeAdd,
  'route.delete': routeDelete,
  'rule.add': ruleAdd,
  'rule.delete': ruleDelete,
  'sysctl.set': sysctlSet,
  'tap.create': tapCreate,
  'tcx.detach': tcxDetach,
  'veth.create': vethCreate,
};

export type Operation = {
  [N in keyof typeof operations]: (typeof operations)[N] extends OperationKind<infer O> ? O : never;
}[keyof typeof operations];

export function kindOf<O extends Operation>(operation: O): OperationKind<O> {
  return operations[operation.op] as unknown as OperationKind<O>;
}

/** As a person would have typed it. */
export function command(operation: Operation): string {
  return kindOf(operation).command(operation);
}
