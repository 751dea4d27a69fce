// What a kernel that refuses an operation lacks: told by the name of the configuration option, and of the module to load.
import { type NetlinkError, UnsupportedError } from '../errors.js';
import type { Operation } from './kinds.js';

interface Part {
  readonly config: string;
  readonly module: string;
  readonly minimumKernel?: string;
}

/** Links whose option is not called after them. */
const links: Readonly<Record<string, Part>> = {
  bond: { config: 'CONFIG_BONDING', module: 'bonding' },
  ip6gre: { config: 'CONFIG_IPV6_GRE', module: 'ip6_gre' },
  netkit: { config: 'CONFIG_NETKIT', module: 'netkit', minimumKernel: '6.7' },
  vlan: { config: 'CONFIG_VLAN_8021Q', module: '8021q' },
  vrf: { config: 'CONFIG_NET_VRF', module: 'vrf' },
};

const named =
  (prefix: string, modulePrefix: string) =>
  (kind: string): Part => ({ config: `CONFIG_${prefix}${kind.toUpperCase()}`, module: `${modulePrefix}${kind}` });
const linkPart = (kind: string): Part => (Object.hasOwn(links, kind) ? links[kind]! : named('', '')(kind));
// clsact is made by the same file as ingress (net/sched/sch_ingress.c).
const qdiscPart = (kind: string): Part => named('NET_SCH_', 'sch_')(kind === 'clsact' ? 'ingress' : kind);
const filterPart = named('NET_CLS_', 'cls_');
const actionPart = named('NET_ACT_', 'act_');

/** The error that names what is missing; undefined where the kernel refuses for another reason. */
export function lacking(operation: Operation, error: NetlinkError): UnsupportedError | undefined {
  const said = error.extack?.message ?? '';
  const tell = (what: string, kind: string | readonly string[], part: (kind: string) => Part): UnsupportedError => {
    const kinds = [kind].flat();
    const parts = kinds.map(part);
    const [config, module] = [parts.map(({ config }) => config).join(', '), parts.map(({ module }) => module).join(', ')];
    const minimumKernel = parts.find(({ minimumKernel }) => minimumKernel !== undefined)?.minimumKernel;
    const since = minimumKernel === undefined ? '' : ` (since Linux ${minimumKernel})`;
    const named = `${kinds.length > 1 ? `one of the ${what}s` : `the ${what}`} ${kinds.map((kind) => `'${kind}'`).join(', ')}${since}`;
    const message = `this kernel lacks ${named}: it needs ${config}, or the module ${module} loaded`;
    return new UnsupportedError(message, {
      feature: `${what} ${kinds.join(', ')}`,
      config,
      ...(minimumKernel !== undefined && { minimumKernel }),
      cause: error,
    });
  };
  // Messages of the kernel: rtnl_newlink(), qdisc_create(), tcf_proto_lookup_ops(), tc_action_load_ops().
  switch (operation.op) {
    case 'link.create':
    case 'veth.create':
      return error.code === 'EOPNOTSUPP' && said.startsWith('Unknown device type')
        ? tell('link kind', operation.op === 'veth.create' ? 'veth' : operation.kind, linkPart)
        : undefined;
    case 'qdisc.add':
      return error.code === 'ENOENT' && said.includes('qdisc kind is unknown') ? tell('qdisc', operation.qdisc.kind, qdiscPart) : undefined;
    case 'filter.add':
      if (error.code !== 'ENOENT') return undefined;
      if (said.includes('classifier not found')) return tell('filter', operation.filter.kind, filterPart);
      // It does not say which: of several, each is named.
      return said.includes('TC action module')
        ? tell('action', [...new Set(operation.filter.actions?.map(({ kind }) => kind))], actionPart)
        : undefined;
    default:
      return undefined;
  }
}
