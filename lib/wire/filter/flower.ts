import {
  type Table,
  type Unknown,
  type Values,
  be16,
  be32,
  bytes,
  ip,
  mac,
  mapped,
  nest,
  nested,
  repeated,
  string,
  table,
  u16,
  u32,
  u8,
} from '../attribute.js';
import { type Action, actions } from '../action.js';
import { formatHandle, parseHandle } from '../handle.js';
import { filterFlags, sentFlags } from './flags.js';

/** The kernel tells these nests without NLA_F_NESTED, and does not take them so. */
const tunnelOptions = nested(
  table('TCA_FLOWER_KEY_ENC_OPTS', {
    geneve: [1, repeated(nest)],
    vxlan: [2, repeated(nest)],
    erspan: [3, repeated(nest)],
    gtp: [4, repeated(nest)],
    pfcp: [5, repeated(nest)],
  }),
);

/** Ports, EtherTypes and what else is read from packets stands in their byte order; VLANs, MPLS labels, connection marks and hashes in the host's. */
export const flowerTable = table('TCA_FLOWER', {
  classid: [1, u32],
  indev: [2, string],
  act: [3, actions],
  key_eth_dst: [4, mac],
  key_eth_dst_mask: [5, mac],
  key_eth_src: [6, mac],
  key_eth_src_mask: [7, mac],
  key_eth_type: [8, be16],
  key_ip_proto: [9, u8],
  key_ipv4_src: [10, ip],
  key_ipv4_src_mask: [11, ip],
  key_ipv4_dst: [12, ip],
  key_ipv4_dst_mask: [13, ip],
  key_ipv6_src: [14, ip],
  key_ipv6_src_mask: [15, ip],
  key_ipv6_dst: [16, ip],
  key_ipv6_dst_mask: [17, ip],
  key_tcp_src: [18, be16],
  key_tcp_dst: [19, be16],
  key_udp_src: [20, be16],
  key_udp_dst: [21, be16],
  flags: [22, filterFlags],
  key_vlan_id: [23, u16],
  key_vlan_prio: [24, u8],
  key_vlan_eth_type: [25, be16],
  key_enc_key_id: [26, be32],
  key_enc_ipv4_src: [27, ip],
  key_enc_ipv4_src_mask: [28, ip],
  key_enc_ipv4_dst: [29, ip],
  key_enc_ipv4_dst_mask: [30, ip],
  key_enc_ipv6_src: [31, ip],
  key_enc_ipv6_src_mask: [32, ip],
  key_enc_ipv6_dst: [33, ip],
  key_enc_ipv6_dst_mask: [34, ip],
  key_tcp_src_mask: [35, be16],
  key_tcp_dst_mask: [36, be16],
  key_udp_src_mask: [37, be16],
  key_udp_dst_mask: [38, be16],
  key_sctp_src_mask: [39, be16],
  key_sctp_dst_mask: [40, be16],
  key_sctp_src: [41, be16],
  key_sctp_dst: [42, be16],
  key_enc_udp_src_port: [43, be16],
  key_enc_udp_src_port_mask: [44, be16],
  key_enc_udp_dst_port: [45, be16],
  key_enc_udp_dst_port_mask: [46, be16],
  key_flags: [47, be32],
  key_flags_mask: [48, be32],
  key_icmpv4_code: [49, u8],
  key_icmpv4_code_mask: [50, u8],
  key_icmpv4_type: [51, u8],
  key_icmpv4_type_mask: [52, u8],
  key_icmpv6_code: [53, u8],
  key_icmpv6_code_mask: [54, u8],
  key_icmpv6_type: [55, u8],
  key_icmpv6_type_mask: [56, u8],
  key_arp_sip: [57, ip],
  key_arp_sip_mask: [58, ip],
  key_arp_tip: [59, ip],
  key_arp_tip_mask: [60, ip],
  key_arp_op: [61, u8],
  key_arp_op_mask: [62, u8],
  key_arp_sha: [63, mac],
  key_arp_sha_mask: [64, mac],
  key_arp_tha: [65, mac],
  key_arp_tha_mask: [66, mac],
  key_mpls_ttl: [67, u8],
  key_mpls_bos: [68, u8],
  key_mpls_tc: [69, u8],
  key_mpls_label: [70, u32],
  key_tcp_flags: [71, be16],
  key_tcp_flags_mask: [72, be16],
  key_ip_tos: [73, u8],
  key_ip_tos_mask: [74, u8],
  key_ip_ttl: [75, u8],
  key_ip_ttl_mask: [76, u8],
  key_cvlan_id: [77, u16],
  key_cvlan_prio: [78, u8],
  key_cvlan_eth_type: [79, be16],
  key_enc_ip_tos: [80, u8],
  key_enc_ip_tos_mask: [81, u8],
  key_enc_ip_ttl: [82, u8],
  key_enc_ip_ttl_mask: [83, u8],
  key_enc_opts: [84, tunnelOptions],
  key_enc_opts_mask: [85, tunnelOptions],
  in_hw_count: [86, u32],
  key_port_src_min: [87, be16],
  key_port_src_max: [88, be16],
  key_port_dst_min: [89, be16],
  key_port_dst_max: [90, be16],
  key_ct_state: [91, u16],
  key_ct_state_mask: [92, u16],
  key_ct_zone: [93, u16],
  key_ct_zone_mask: [94, u16],
  key_ct_mark: [95, u32],
  key_ct_mark_mask: [96, u32],
  key_ct_labels: [97, bytes],
  key_ct_labels_mask: [98, bytes],
  key_mpls_opts: [99, nest],
  key_hash: [100, u32],
  key_hash_mask: [101, u32],
  key_num_of_vlans: [102, u8],
  key_pppoe_sid: [103, be16],
  key_ppp_proto: [104, be16],
  key_l2tpv3_sid: [105, be32],
  l2_miss: [106, u8],
  key_cfm: [107, nest],
  key_spi: [108, be32],
  key_spi_mask: [109, be32],
  key_enc_flags: [110, be32],
  key_enc_flags_mask: [111, be32],
});
type Raw = Values<typeof flowerTable>;
type FieldsOf<T> = T extends Table<infer F> ? F : never;

/**
 * What a packet must have, by the names of TCA_FLOWER_KEY_*: `eth_dst`, `eth_type`, `ip_proto`, `ipv4_src`, `ipv4_src_mask`, `tcp_dst`,
 * `vlan_id`, `arp_op`, ... A key without its mask must be equal. What stands in the packet in more than one byte is a number in its order.
 *
 * A key counts only with those that lead to it: `ip_proto` with `eth_type` (absent in a request: the filter's protocol, as tc(8) has it) or
 * `vlan_eth_type`, ports with `ip_proto`. The kernel passes over others, and so matches more than was asked for.
 */
export type FlowerKeys = {
  readonly [N in keyof FieldsOf<typeof flowerTable> as N extends `key_${infer K}` ? K : N extends 'l2_miss' ? N : never]?: NonNullable<
    Raw[N]
  >;
};

/** Keys of packets, hashed by mask (since 4.2). */
export interface FlowerOptions {
  readonly keys?: FlowerKeys;
  readonly classid?: string;
  readonly indev?: string;
  /** 'skip_hw', 'skip_sw', 'in_hw', 'not_in_hw'. */
  readonly flags?: readonly string[];
  readonly inHardware?: number;
  readonly unknown?: readonly Unknown[];
}

export const flower = mapped(
  nested(flowerTable),
  ({ classid, indev, act, flags, in_hw_count, unknown, ...rest }): FlowerOptions & { actions?: readonly Action[] } => ({
    keys: renamed(rest, (name) => name.replace(/^key_/, '')),
    ...(act !== undefined && { actions: act }),
    ...(classid !== undefined && { classid: formatHandle(classid) }),
    ...(indev !== undefined && { indev }),
    ...(flags !== undefined && flags.length > 0 && { flags }),
    ...(in_hw_count !== undefined && { inHardware: in_hw_count }),
    ...(unknown !== undefined && { unknown }),
  }),
  ({ keys, actions, classid, indev, flags, unknown }: FlowerOptions & { actions?: readonly Action[] }): Raw => ({
    ...renamed(keys ?? {}, (name) => (name === 'l2_miss' ? name : `key_${name}`)),
    classid: classid === undefined ? undefined : parseHandle(classid),
    indev,
    act: actions,
    flags: sentFlags(flags),
    unknown,
  }),
);

function renamed(values: object, name: (key: string) => string): object {
  return Object.fromEntries(Object.entries(values).map(([key, value]) => [name(key), value as unknown]));
}
