// One pod that has something of everything, and single mistakes, each of which a comparison must name.
import type { Pod } from './pod.js';

export const pod: Pod = {
  eth0: {
    mac: '02:00:00:00:a1:10',
    mtu: 1450,
    txQueueLength: 500,
    group: 5,
    alias: 'the pod of somebody',
    altname: 'the-longer-name-of-eth0',
    allMulticast: false,
    promiscuous: false,
    ipv6: 'eui64',
    sysctls: { 'ipv4.conf.promote_secondaries': 1, 'ipv4.conf.rp_filter': 2, 'ipv6.conf.hop_limit': 99, 'ipv4.neigh.gc_stale_time': 90 },
    addresses: [
      '10.1.0.2/24 label eth0:a',
      '10.1.0.3/24',
      '10.1.0.4/24 valid_lft 7200 preferred_lft 3600',
      '10.1.100.2/16 metric 50',
      '10.1.8.2 peer 10.1.8.1/32',
      'fd00:1::2/64 nodad',
      'fd00:1::3/64 nodad home',
      'fd00:1::4/64 nodad valid_lft 7200 preferred_lft 3600',
      'fd00:1::5/64 nodad',
    ],
    neighbors: ['10.1.0.1 lladdr 02:00:00:00:01:fe nud permanent', 'fd00:1::1 lladdr 02:00:00:00:01:fe router nud permanent'],
    proxies: ['10.1.0.98', 'fd00:1::98'],
    traffic: [
      'qdisc add dev eth0 clsact',
      'filter add dev eth0 ingress protocol ip pref 10 u32 match ip protocol 1 0xff flowid 1:1',
      'filter add dev eth0 egress protocol all pref 20 u32 match u32 0x7 0xff at 8 action mirred egress mirror dev eth1',
    ],
  },
  eth1: {
    mac: '02:00:00:00:a2:20',
    mtu: 1500,
    txQueueLength: 1000,
    group: 0,
    alias: null,
    altname: null,
    allMulticast: false,
    promiscuous: false,
    ipv6: 'none',
    sysctls: { 'ipv4.conf.promote_secondaries': 0 },
    addresses: ['10.2.0.2/24', 'fd00:2::2/64 nodad'],
    neighbors: [],
    proxies: [],
    traffic: [],
  },
  nexthops: ['id 1 via 10.1.0.1 dev eth0'],
  routes: [
    'default via 10.1.0.1 dev eth0',
    '10.20.0.0/16 via 10.1.0.1 dev eth0 src 10.1.0.2 metric 5 realms 3/4 mtu 1400 proto static',
    '10.20.1.0/24 dev eth1 src 10.1.0.2 table 100',
    '10.20.2.0/24 via 169.254.1.1 dev eth0 onlink',
    '10.21.0.0/24 via 10.1.0.1 dev eth0',
    '10.21.0.0/24 via 10.2.0.1 dev eth1',
    'blackhole 10.22.0.0/16',
    '10.23.0.0/16 nexthop via 10.1.0.1 dev eth0 weight 2 nexthop via 10.2.0.1 dev eth1 weight 3',
    '10.24.0.0/16 nhid 1',
    '-6 default via fe80::1 dev eth0',
    '-6 fd20::/32 dev eth1 src fd00:1::2',
    '-6 fd21::/64 via fd00:1::1 dev eth0 expires 6000',
    '-6 unreachable fd22::/64 table 100',
  ],
  rules: ['from 10.1.0.3 lookup 100 pref 1000', 'fwmark 0x7/0xff lookup 100 pref 1000', '-6 iif eth0 lookup 100 pref 1001'],
  others: ['bridge', 'tap'],
};

export interface Planted {
  readonly mistake: string;
  readonly command: string;
  readonly shows: RegExp;
  /** Absent: both views must see it. */
  readonly by?: 'tools';
}

const list: readonly (readonly [mistake: string, command: string, shows: RegExp, by?: 'tools'])[] = [
  // addresses
  ['a secondary address is missing', 'ip address del 10.1.0.3/24 dev eth0', /address eth0 10\.1\.0\.3\/24: missing/],
  ['an IPv6 address is missing', 'ip address del fd00:1::3/64 dev eth0', /address eth0 fd00:1::3\/64: missing/],
  ['an address too many', 'ip address add 10.1.0.9/24 dev eth0', /address eth0 10\.1\.0\.9\/24: added/],
  ['an address on another interface', 'ip address add 10.1.0.9/24 dev eth1', /address eth1 10\.1\.0\.9\/24: added/],
  ['another prefix length', 'ip address del 10.2.0.2/24 dev eth1; ip address add 10.2.0.2/25 dev eth1', /address eth1 10\.2\.0\.2\/25: added/],
  ['no peer', 'ip address del 10.1.8.2 peer 10.1.8.1/32 dev eth0; ip address add 10.1.8.2/32 dev eth0', /address eth0 10\.1\.8\.2.*peer 10\.1\.8\.1.*: missing/],
  ['no label', 'ip address del 10.1.100.2/16 dev eth0; ip address add 10.1.100.2/16 metric 50 label eth0:b dev eth0', /10\.1\.100\.2\/16: label eth0 -> eth0:b/],
  ['another scope', 'ip address del 10.1.100.2/16 dev eth0; ip address add 10.1.100.2/16 metric 50 scope link dev eth0', /10\.1\.100\.2\/16: scope global -> link/],
  ['another metric of an address', 'ip address change 10.1.100.2/16 metric 60 dev eth0', /address eth0 10\.1\.100\.2\/16: metric 50 -> 60/],
  ['a broadcast address', 'ip address del 10.1.100.2/16 dev eth0; ip address add 10.1.100.2/16 metric 50 broadcast + dev eth0', /address eth0 10\.1\.100\.2\/16: broadcast - -> 10\.1\.255\.255/],
  ['a lifetime off by a minute', 'ip address change 10.1.0.4/24 dev eth0 valid_lft 7140 preferred_lft 3600', /10\.1\.0\.4\/24: validUntil/],
  ['a preferred lifetime off by a minute', 'ip address change fd00:1::4/64 dev eth0 nodad valid_lft 7200 preferred_lft 3660', /fd00:1::4\/64: preferredUntil/],
  ['a lifetime without end', 'ip address change fd00:1::4/64 dev eth0 nodad valid_lft forever preferred_lft forever', /fd00:1::4\/64: validUntil [\d.]+ -> -/],
  ['deprecated', 'ip address change fd00:1::2/64 dev eth0 nodad preferred_lft 0', /fd00:1::2\/64: (flags .*deprecated|deprecated - -> true)/],
  ['the flag nodad is gone', 'ip address replace fd00:1::2/64 dev eth0', /fd00:1::2\/64: (flags nodad permanent -> permanent|nodad true -> -)/],
  ['the flag home is gone', 'ip address replace fd00:1::3/64 dev eth0 nodad', /fd00:1::3\/64: (flags .*home|home true -> -)/],
  ['the flag noprefixroute', 'ip address change fd00:1::2/64 dev eth0 nodad noprefixroute', /fd00:1::2\/64: (flags .*noprefixroute|noprefixroute - -> true)/],
  ['a tentative address', 'ip address del fd00:1::5/64 dev eth0; ip address add fd00:1::5/64 dev eth0', /fd00:1::5\/64: (flags .*tentative|tentative - -> true)/],
  ['addresses in another order', 'ip address del 10.1.0.3/24 dev eth0; ip address add 10.1.0.3/24 dev eth0', /address eth0 (ipv4|inet), order: .*10\.1\.0\.3\/24.*10\.1\.0\.4.* -> .*10\.1\.0\.3\/24$/],
  ['IPv6 addresses in another order', 'ip address del fd00:1::2/64 dev eth0; ip address add fd00:1::2/64 nodad dev eth0', /address eth0 (ipv6|inet6), order: .* -> fd00:1::2\/64/],
  ['another primary address', 'ip address del 10.1.0.2/24 dev eth0; ip address add 10.1.0.2/24 label eth0:a dev eth0', /10\.1\.0\.2\/24: (flags permanent -> secondary permanent|secondary - -> true)/],
  // routes
  ['a default route is missing', 'ip route del default', /route (ipv4 )?(0\.0\.0\.0\/0|default) table (254|main) metric 0: missing/],
  ['an IPv6 default route is missing', 'ip -6 route del default', /route (ipv6 )?(::\/0|default) table (254|main) metric 1024: missing/],
  ['a route too many', 'ip route add 10.30.0.0/16 dev eth0', /route .*10\.30\.0\.0\/16 .*: added/],
  ['a route in another table', 'ip -6 route del unreachable fd22::/64 table 100; ip -6 route add unreachable fd22::/64 table 101', /route .*fd22::\/64 table 101 .*: added/],
  ['another metric', 'ip route del 10.20.0.0/16; ip route add 10.20.0.0/16 via 10.1.0.1 dev eth0 src 10.1.0.2 metric 6 realms 3/4 mtu 1400 proto static', /route .*10\.20\.0\.0\/16 .*metric 6: added/],
  ['another gateway', 'ip route replace 10.20.0.0/16 via 10.1.0.9 dev eth0 src 10.1.0.2 metric 5 realms 3/4 mtu 1400 proto static', /10\.20\.0\.0\/16 .*metric 5: (via 10\.1\.0\.1 -> 10\.1\.0\.9|text)/],
  ['a lost src', 'ip route replace 10.20.0.0/16 via 10.1.0.1 dev eth0 metric 5 realms 3/4 mtu 1400 proto static', /10\.20\.0\.0\/16 .*metric 5: (src 10\.1\.0\.2 -> -|text)/],
  ['a lost src on another interface and table', 'ip route replace 10.20.1.0/24 dev eth1 table 100', /10\.20\.1\.0\/24 table 100 .*: (src 10\.1\.0\.2 -> -|text)/],
  ['a lost src of IPv6', 'ip -6 route replace fd20::/32 dev eth1', /fd20::\/32 .*: (src fd00:1::2 -> -|text)/],
  ['a lost realm', 'ip route replace 10.20.0.0/16 via 10.1.0.1 dev eth0 src 10.1.0.2 metric 5 mtu 1400 proto static', /10\.20\.0\.0\/16 .*metric 5: (flow \d+ -> -|text)/],
  ['a lost MTU of a route', 'ip route replace 10.20.0.0/16 via 10.1.0.1 dev eth0 src 10.1.0.2 metric 5 realms 3/4 proto static', /10\.20\.0\.0\/16 .*metric 5: (mtu 1400 -> -|text)/],
  ['another protocol', 'ip route replace 10.20.0.0/16 via 10.1.0.1 dev eth0 src 10.1.0.2 metric 5 realms 3/4 mtu 1400 proto boot', /10\.20\.0\.0\/16 .*metric 5: (protocol static -> boot|text)/],
  ['another type', 'ip route replace unreachable 10.22.0.0/16', /10\.22\.0\.0\/16 .*: type blackhole -> unreachable/],
  ['another interface', 'ip route replace 10.20.2.0/24 via 169.254.1.1 dev eth1 onlink', /10\.20\.2\.0\/24 .*: (dev 100 -> 102|text)/],
  ['a weight', 'ip route replace 10.23.0.0/16 nexthop via 10.1.0.1 dev eth0 weight 2 nexthop via 10.2.0.1 dev eth1 weight 4', /10\.23\.0\.0\/16 .*: (nexthops\.1\.weight 3 -> 4|text)/],
  ['a leg of a multipath route', 'ip route replace 10.23.0.0/16 via 10.2.0.1 dev eth1', /10\.23\.0\.0\/16 .*: (nexthops\.0\.via 10\.1\.0\.1 -> -|text)/],
  ['a route that expires a minute later', 'ip -6 route replace fd21::/64 via fd00:1::1 dev eth0 expires 6060', /fd21::\/64 .*: expiresUntil/],
  ['a route that never expires', 'ip -6 route replace fd21::/64 via fd00:1::1 dev eth0', /fd21::\/64 .*: expiresUntil [\d.]+ -> -/],
  ['equal routes in another order', 'ip route del 10.21.0.0/24 via 10.1.0.1; ip route append 10.21.0.0/24 via 10.1.0.1 dev eth0', /route .*10\.21\.0\.0\/24 .*, order: .*10\.1\.0\.1.* -> .*10\.2\.0\.1/],
  ['a nexthop object', 'ip nexthop replace id 1 via 10.1.0.9 dev eth0', /nexthop 1: gateway 10\.1\.0\.1 -> 10\.1\.0\.9/, 'tools'],
  // rules
  ['a rule is missing', 'ip -6 rule del pref 1001', /rule ipv6 1001: missing/],
  ['a rule too many', 'ip rule add to 10.9.9.9 lookup 100 pref 1000', /rule ipv4 1000: added/],
  ['a rule with another table', 'ip rule del from 10.1.0.3 pref 1000; ip rule add from 10.1.0.3 lookup 101 pref 1000', /rule ipv4 1000: (table 100 -> 101|text)/],
  ['rules of one priority in another order', 'ip rule del from 10.1.0.3 pref 1000; ip rule add from 10.1.0.3 lookup 100 pref 1000', /rule ipv4 1000, order/],
  // neighbours
  ['a permanent neighbour is missing', 'ip neighbour del 10.1.0.1 dev eth0', /neighbor eth0 10\.1\.0\.1: missing/],
  ['a neighbour too many', 'ip neighbour add 10.1.0.77 lladdr 02:00:00:00:00:77 dev eth0 nud permanent', /neighbor eth0 10\.1\.0\.77: added/],
  ['a neighbour with another MAC', 'ip neighbour replace 10.1.0.1 lladdr 02:00:00:00:00:77 dev eth0 nud permanent', /neighbor eth0 10\.1\.0\.1: (mac|lladdr) 02:00:00:00:01:fe -> 02:00:00:00:00:77/],
  ['a neighbour that is not permanent any more', 'ip neighbour replace 10.1.0.1 lladdr 02:00:00:00:01:fe dev eth0 nud reachable', /neighbor eth0 10\.1\.0\.1: missing/],
  ['a neighbour that is no router any more', 'ip neighbour del fd00:1::1 dev eth0; ip neighbour add fd00:1::1 lladdr 02:00:00:00:01:fe dev eth0 nud permanent', /neighbor eth0 fd00:1::1: (flags|router)/],
  ['a proxy is missing', 'ip neighbour del proxy 10.1.0.98 dev eth0', /proxy eth0 10\.1\.0\.98: missing/],
  ['an IPv6 proxy is missing', 'ip neighbour del proxy fd00:1::98 dev eth0', /proxy eth0 fd00:1::98: missing/],
  // sysctls
  ['a sysctl was reset', 'echo 0 > /proc/sys/net/ipv4/conf/eth0/rp_filter', /eth0(\.rp_filter: value|: inet\.rp_filter) 2 -> 0/],
  ['an IPv6 sysctl was reset', 'echo 64 > /proc/sys/net/ipv6/conf/eth0/hop_limit', /eth0(\.hop_limit: value|: inet6\.hop_?limit) 99 -> 64/],
  ['the MTU of IPv6', 'echo 1300 > /proc/sys/net/ipv6/conf/eth0/mtu', /eth0(\.mtu: value|: inet6\.mtu6?) 1450 -> 1300/],
  ['a sysctl of neighbours', 'echo 60 > /proc/sys/net/ipv4/neigh/eth0/gc_stale_time', /neigh\.eth0\.gc_stale_time: value 90 -> 60/, 'tools'],
  ['a sysctl of the whole namespace', 'echo 1 > /proc/sys/net/ipv4/ip_nonlocal_bind', /ip_nonlocal_bind: value 0 -> 1/, 'tools'],
  ['disable_ipv6 and back', 'echo 1 > /proc/sys/net/ipv6/conf/eth0/disable_ipv6; echo 0 > /proc/sys/net/ipv6/conf/eth0/disable_ipv6', /address eth0 fd00:1::2\/64: missing/],
  // links
  ['another MTU', 'ip link set eth0 mtu 1400', /link eth0: mtu 1450 -> 1400/],
  ['another queue length', 'ip link set eth0 txqueuelen 501', /link eth0: (txQueueLength|txqlen) 500 -> 501/],
  ['no alias', "ip link set eth0 alias ''", /link eth0: (alias|ifalias) the pod of somebody -> -/],
  ['no altname', 'ip link property del dev eth0 altname the-longer-name-of-eth0', /link eth0: altnames the-longer-name-of-eth0 -> -/],
  ['another group', 'ip link set eth0 group 6', /link eth0: group 5 -> 6/],
  ['another name', 'ip link set eth0 name eth7', /link eth0: (name|ifname) eth0 -> eth7/],
  ['another MAC', 'ip link set eth0 address 02:00:00:00:a1:11', /link eth0: (mac|address) 02:00:00:00:a1:10 -> 02:00:00:00:a1:11/],
  ['promiscuous', 'ip link set eth0 promisc on', /link eth0: promiscuity 0 -> 1/],
  ['all multicast', 'ip link set eth0 allmulticast on', /link eth0: (allMulticast|allmulti) 0 -> 1/],
  ['without ARP', 'ip link set eth0 arp off', /link eth0: flags .* -> .*NOARP/],
  ['addr_gen_mode', 'ip link set eth0 addrgenmode none', /link eth0: (addrGenMode|inet6_addr_gen_mode) eui64 -> none/],
  ['a master', 'ip link set eth0 master br7', /link eth0: master - -> (110|br7)/],
  ['down', 'ip link set eth1 down', /link eth1: flags .*UP.* -> BROADCAST,?.MULTICAST$/],
  ['a link too many', 'ip link add x0 type veth peer name x1', /link x0: added/],
  ['a link is missing', 'ip link del t7', /link t7: missing/],
  // bridges
  ['an option of a bridge', 'ip link set br7 type bridge ageing_time 30000', /link br7: .*ageing_time 12300 -> 30000/],
  ['a setting of a port', 'bridge link set dev w7 isolated off', /link w7: .*isolated (1|true) -> (0|false)/],
  ['another setting of a port', 'bridge link set dev w7 learning on', /link w7: .*learning (0|false) -> (1|true)/],
  ['a forwarding entry is missing', 'bridge fdb del 02:00:00:00:07:77 dev w7 master', /fdb w7 02:00:00:00:07:77 .*: missing/],
  ['a forwarding entry too many', 'bridge fdb add 02:00:00:00:07:78 dev w7 master static', /fdb w7 02:00:00:00:07:78 .*: added/],
  // traffic control
  ['a qdisc is missing', 'tc qdisc del dev eth0 clsact', /qdisc eth0 .*: missing/],
  ['a qdisc too many', 'tc qdisc add dev eth1 ingress', /qdisc eth1 .*: added/],
  ['another kind of qdisc', 'tc qdisc del dev eth0 clsact; tc qdisc add dev eth0 ingress', /qdisc eth0 .*(: added|kind clsact -> ingress)/],
  ['a filter is missing', 'tc filter del dev eth0 ingress pref 10', /filter eth0 ingress .*pref 10 .*: missing/],
  ['a filter too many', 'tc filter add dev eth0 ingress protocol ip pref 11 u32 match u32 0 0 flowid 1:1', /filter eth0 ingress .*pref 11 .*: added/],
  ['another class of a filter', 'tc filter change dev eth0 ingress protocol ip pref 10 handle 800::800 u32 flowid 1:2', /filter eth0 ingress .*800::800: .*(classid|flowid) 1:1 -> 1:2/],
  ['another action', 'tc filter change dev eth0 egress protocol all pref 20 handle 801::800 u32 action mirred egress redirect dev eth1', /filter eth0 egress .*: .*action mirror -> redirect/],
]; // prettier-ignore

export const planted: readonly Planted[] = list.map(([mistake, command, shows, by]) => ({ mistake, command, shows, ...(by && { by }) }));

/** What an undo cannot put back, or what changes by itself: no difference. */
export const harmless: readonly { readonly what: string; readonly command: string }[] = [
  { what: 'a learned neighbour', command: 'ip neighbour add 10.1.0.50 lladdr 02:00:00:00:00:50 dev eth0 nud reachable' },
  { what: 'a failed neighbour', command: 'ip neighbour add 10.1.0.51 dev eth0 nud failed' },
  { what: 'a learned forwarding entry', command: 'bridge fdb add 02:00:00:00:07:79 dev w7 master dynamic' },
  {
    what: 'the order of ff00::/8',
    command:
      'ip -6 route del ff00::/8 dev eth0 table local; ip -6 route append multicast ff00::/8 dev eth0 table local proto kernel metric 256',
  },
  {
    what: 'the order of fe80::/64',
    command: 'ip -6 address add fe80::9/64 dev eth1 nodad; ip -6 address del fe80::9/64 dev eth1',
  },
];
