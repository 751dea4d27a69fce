import { boolean, integer, optional, u16 } from '../../check.js';
import * as v from 'valibot';
import { option } from '../operation.js';
import { type LinkKind, bit } from './kind.js';

export interface BridgeKindOptions {
  /** Spanning Tree Protocol. The kernel's default is off. */
  readonly stp?: boolean;
  /** Seconds in which a new port only listens and learns. The kernel's default is 15; without STP, 0 is right. */
  readonly forwardDelay?: number;
  /** Seconds after which a learned address is forgotten. The kernel's default is 300. */
  readonly ageing?: number;
  readonly multicastSnooping?: boolean;
  readonly vlanFiltering?: boolean;
  /** Link-local groups (01:80:c2:00:00:0X) that are forwarded: 0x4000 is LLDP. Bits 0 (STP), 1 and 2 (LACP) are refused by the kernel. */
  readonly groupFwdMask?: number;
  /** Whether frames on it pass iptables, ip6tables and arptables (br_netfilter). */
  readonly netfilter?: boolean;
}

const RESTRICTED_GROUPS = 0x7; // BR_GROUPFWD_RESTRICTED: net/bridge/br_private.h
const USER_HZ = 100; // bridges count time in hundredths of a second

const seconds = (max: number) => integer(0, max);

export const bridge: LinkKind<BridgeKindOptions> = {
  entries: {
    stp: optional(boolean),
    forwardDelay: optional(seconds(30)),
    ageing: optional(seconds(1_000_000)),
    multicastSnooping: optional(boolean),
    vlanFiltering: optional(boolean),
    groupFwdMask: optional(v.pipe(u16, v.check((mask) => (mask & RESTRICTED_GROUPS) === 0, 'must leave bits 0 to 2 clear (STP, pause frames, LACP): the kernel forwards those never'))), // prettier-ignore
    netfilter: optional(boolean),
  },
  info: ({ stp, forwardDelay, ageing, multicastSnooping, vlanFiltering, groupFwdMask, netfilter }) => ({
    forward_delay: hundredths(forwardDelay),
    ageing_time: hundredths(ageing),
    stp_state: bit(stp),
    vlan_filtering: bit(vlanFiltering),
    group_fwd_mask: groupFwdMask,
    mcast_snooping: bit(multicastSnooping),
    nf_call_iptables: bit(netfilter),
    nf_call_ip6tables: bit(netfilter),
    nf_call_arptables: bit(netfilter),
  }),
  words: ({ stp, forwardDelay, ageing, multicastSnooping, vlanFiltering, groupFwdMask, netfilter }) => [
    ...option('forward_delay', hundredths(forwardDelay)),
    ...option('ageing_time', hundredths(ageing)),
    ...option('stp_state', bit(stp)),
    ...option('vlan_filtering', bit(vlanFiltering)),
    ...option('group_fwd_mask', groupFwdMask === undefined ? undefined : `0x${groupFwdMask.toString(16)}`),
    ...option('mcast_snooping', bit(multicastSnooping)),
    ...option('nf_call_iptables', bit(netfilter)),
    ...option('nf_call_ip6tables', bit(netfilter)),
    ...option('nf_call_arptables', bit(netfilter)),
  ],
};

function hundredths(value: number | undefined): number | undefined {
  return value === undefined ? undefined : value * USER_HZ;
}
