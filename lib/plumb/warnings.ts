// What sits on the pod's interface beside a datapath, and what that means for the guest or for whoever put it there: told, not refused.
import type { LinkHooks } from '../kernel/hooks.js';
import type { Problem } from '../primitive/host.js';
import { ownName } from '../state/tc.js';
import type { DatapathMode } from './datapath/datapaths.js';

const OWN = /^podtap_/;
/** Those of the pod's localhost stand ahead of the datapath, and let go on what is none of their business. */
const AHEAD = /^podtap_lh_/;

/** The order in which frames pass: xdp, tcx, filters, chains of nftables, the receiver (a bridge, a macvlan), the stack. */
export function warningsOf(hooks: LinkHooks, mode: DatapathMode): readonly Problem[] {
  const { link, xdp, tcx, filters, chains, receiver, netkit } = hooks;
  const warnings: Problem[] = [];
  const tell = (code: string, message: string, fix: string): void => void warnings.push({ code, message, fix });
  const redirects = mode === 'redirect' || mode === 'ebpf';
  if (xdp !== undefined)
    tell('XDP_BEFORE', `an XDP program (${xdp.program.name ?? xdp.program.id}) on ${link.name} sees every frame first: what it drops or redirects does not come to the guest`, `ip link set dev ${link.name} xdp off, if the guest lacks frames`); // prettier-ignore

  const programs = tcx.ingress.filter(({ name = '' }) => !AHEAD.test(name));
  const ours = programs.findIndex(({ name }) => name !== undefined && OWN.test(name));
  const before = ours === -1 ? programs : programs.slice(0, ours);
  for (const { id, name } of before)
    tell('TCX_BEFORE', `the program ${name ?? id} on ${link.name} (tcx) sees what comes in before podtap: what it drops, redirects or takes for the pod does not come to the guest`, mode === 'ebpf' ? "filters: 'first'" : `bpftool net detach tcx_ingress id ${id} dev ${link.name}, or mode 'ebpf' with filters: 'first'`); // prettier-ignore
  if (ours !== -1)
    for (const { id, name } of programs.slice(ours + 1))
      tell('TCX_BEHIND', `the program ${name ?? id} on ${link.name} (tcx) does not see what podtap sends to the guest`, "filters: 'last'"); // prettier-ignore

  // Not the hash tables of u32.
  const others = filters.ingress.filter((filter) => !/^[0-9a-f]+:$/.test(filter.handle ?? '') && !AHEAD.test(ownName(filter) ?? ''));
  const own = others.findIndex((filter) => ownName(filter) !== undefined);
  for (const [index, filter] of others.entries()) {
    if (ownName(filter) !== undefined) continue;
    const what = `the filter ${filter.kind} with priority ${filter.priority} on ${link.name}`;
    if (mode === 'ebpf' ? ours !== -1 || (own !== -1 && index > own) : own !== -1 && index > own)
      tell('FILTER_BEHIND', `${what} does not see what podtap sends to the guest`, "filters: 'last'");
    else
      tell('FILTER_BEFORE', `${what} is asked before podtap: what it drops, redirects or takes for the pod does not come to the guest`, redirects ? "filters: 'first'" : "mode 'redirect' with filters: 'first'"); // prettier-ignore
  }

  for (const { family, table, name, hook } of chains) {
    const what = `the chain ${family} ${table} ${name} of nftables (${hook?.name ?? ''} of ${link.name})`;
    if (redirects) tell('CHAIN_BYPASSED', `${what} does not see the guest's frames: what it forbids is allowed for the guest`, "mode 'bridge', or the same rules elsewhere"); // prettier-ignore
    else tell('CHAIN_BEFORE', `${what} sees the guest's frames: what it drops does not come to the guest`, `nft delete chain ${family} ${table} ${name}, if the guest lacks frames`); // prettier-ignore
  }
  if (redirects && receiver !== undefined)
    tell('RECEIVER_STARVED', `what came in by ${link.name} went to ${receiver.links.join(', ')} (${receiver.kind}), which gets nothing any more`, 'undo the plumbing, or delete those'); // prettier-ignore
  if (netkit !== undefined)
    tell('NETKIT', `${link.name} is a netkit: its own program sees the frames before everything else, and nobody can be asked about it`, 'ask whoever has set up the pod (Cilium, as a rule)'); // prettier-ignore
  return warnings;
}
