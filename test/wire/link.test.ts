// Links: what a kernel said (6.18, shortened to the attributes that matter here), and what it is told.
import t from 'tap';
import { decode, decodeStruct } from '../../lib/wire/attribute.js';
import { Bytes } from '../../lib/wire/bytes.js';
import {
  type Link,
  RTM_DELLINK,
  RTM_GETLINK,
  RTM_NEWLINK,
  RTM_NEWLINKPROP,
  RTM_SETLINK,
  decodeLink,
  encodeLink,
  encodeLinkDump,
  encodeLinkGet,
  infoKeys,
  linkRequestFamily,
  namedInet6Conf,
  namedInetConf,
  portKeys,
} from '../../lib/wire/link.js';
import { NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST, eachMessage } from '../../lib/wire/message.js';
import { Writer } from '../../lib/wire/writer.js';

const creation = NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;

function hex(text: string): Uint8Array {
  return Uint8Array.from(text.match(/../g) ?? [], (octet) => parseInt(octet, 16));
}
function linksOf(data: Uint8Array, statistics?: boolean): Link[] {
  const links: Link[] = [];
  const from = Bytes.copy(data);
  eachMessage(from, data.length, (message) => links.push(decodeLink(from, message, statistics)));
  return links;
}
/** A request as the kernel reads it. */
function read(data: Uint8Array) {
  const from = Bytes.copy(data);
  return {
    type: from.u16[2]!,
    flags: from.u16[3]!,
    header: decodeStruct(linkRequestFamily.layout, from, 16, data.length),
    attributes: decode(linkRequestFamily.table, from, 16 + linkRequestFamily.size, data.length),
  };
}
/** A reply by hand. */
function reply(header: { family?: number; type?: number; index?: number; flags?: number }, write: (writer: Writer) => void): Uint8Array {
  const writer = new Writer();
  for (const word of [0, RTM_NEWLINK, 0, 0]) writer.u32(word);
  writer.byte(header.family ?? 0);
  writer.byte(0);
  writer.u16(header.type ?? 1);
  writer.u32(header.index ?? 1);
  writer.u32(header.flags ?? 0);
  writer.u32(0);
  write(writer);
  writer.setU32(0, writer.length);
  return writer.finish();
}
function u32(writer: Writer, type: number, ...values: number[]): void {
  const at = writer.beginAttribute(type);
  for (const value of values) writer.u32(value);
  writer.endAttribute(at);
}

/** ip link add v0 type veth peer name v1; ip link set v0 master br0 up */
const bridgePort =
  '2c02000010000200010000000000000000000100040000004310010000000000070003007630000008000d00e8030000050010000600000008000400dc05000008' +
  '0032004400000008003300ffff000008001b000000000008001e000100000008003d000100000008001f0002000000080020000200000008000a00020000000500' +
  '2100010000000a000100160008c217fb00000a000200ffffffffffff00000c002b0005000200000000006c0112000900010076657468000000000b000400627269' +
  '6467650000500105000500010003000000060002002000000008000300020000000500040000000000050005000000000005000600000000000500070000000000' +
  '05001c00000000000500080001000000050009000100000005001b000100000005001e000100000005000a000000000005000c00000000000c000d008000160008' +
  'c217fb0c000e008000160008c217fb06000f0001800000060010000000000006001100018000000600120001000000050013000000000005001400000000000500' +
  '1d000000000006001f000000000005002000000000000500230000000000050024000000000005002100000000000500270000000000050028000000000005002b' +
  '00000000000c00150000000000000000000c001600d4050000000000000c0017000000000000000000050019000100000008002500000200000800260000000000' +
  '080029000100000008002a000000000008000500030000000c0006006e6f717565756500';
/** ip link add vx type vxlan id 7 dstport 4789 local 10.0.0.1 remote 10.0.0.2 */
const vxlan =
  '9801000010000200010000000000000000000100050000000210000000000000070003007678000008000d00e8030000050010000200000008000400dc05000008' +
  '0032004400000008003300ffff000008001b000000000008001e000000000008003d000000000008001f0001000000080020000100000005002100010000000a00' +
  '01008a68db207f6000000a000200ffffffffffff00000c002b000500020000000000e80012000a00010076786c616e000000d80002000800010007000000080002' +
  '000a000002080004000a000001050005000000000005001c0000000000050006000000000005001d000000000008001a0000000000080020000000000005000700' +
  '0100000005000b000000000005000c000000000005000d000000000005000e00000000000500190000000000080008002c010000080009000000000006000f0012' +
  'b500000500120001000000050013000000000005001400000000000500150000000000050016000000000005001f000100000008000a00000000000c002100f7ff' +
  'ffff000000ff090006006e6f6f7000000000';

await t.test('a veth under a bridge', (t) => {
  const [link] = linksOf(hex(bridgePort));
  t.ok(link);
  const { port, ...rest } = link!;
  t.same(rest, {
    object: 'link',
    name: 'v0',
    ifindex: 4,
    kind: 'veth',
    mac: '16:00:08:c2:17:fb',
    mtu: 1500,
    up: true,
    carrier: true,
    flags: ['BROADCAST', 'MULTICAST', 'UP', 'LOWER_UP'],
    type: 'ether',
    operstate: 'UP',
    qdisc: 'noqueue',
    txQueueLength: 1000,
    group: 0,
    promiscuity: 1,
    numTxQueues: 2,
    numRxQueues: 2,
    allMulticast: 1,
    minMtu: 68,
    maxMtu: 65535,
    broadcast: 'ff:ff:ff:ff:ff:ff',
    master: 2,
    peer: { ifindex: 3 },
    portKind: 'bridge',
  });
  t.match(port, {
    state: 'forwarding',
    priority: 32,
    learning: 1,
    unicast_flood: 1,
    isolated: 0,
    root_id: '8000.16:00:08:c2:17:fb',
    forward_delay_timer: 1492,
    mcast_eht_hosts_limit: 512,
  });
  t.notOk(Object.values(link!).includes(undefined), 'no key without a value');
  t.end();
});

await t.test('a vxlan', (t) => {
  const [link] = linksOf(hex(vxlan));
  t.match(link, { name: 'vx', kind: 'vxlan', up: false, flags: ['BROADCAST', 'MULTICAST'] });
  t.match(link!.info, {
    id: 7,
    group: '10.0.0.2',
    local: '10.0.0.1',
    port: 4789,
    port_range: { low: 0, high: 0 },
    ageing: 300,
    learning: 1,
    ttl_inherit: false,
    df: 'unset',
  });
  t.notOk('unknown' in link!.info!, 'every attribute of 6.18 is known');
  t.notOk('peer' in link!, 'no peer');
  t.end();
});

await t.test('links without a kind', (t) => {
  t.equal(linksOf(reply({ type: 772 }, () => undefined))[0]!.kind, 'loopback');
  t.equal(linksOf(reply({}, () => undefined))[0]!.kind, 'physical');
  t.equal(linksOf(reply({ family: 7 }, () => undefined))[0]!.kind, '', 'AF_BRIDGE does not say');
  t.end();
});

await t.test('flags as ip-link prints them', (t) => {
  t.same(linksOf(reply({ flags: 0x1 | 0x2 | 0x1000 }, () => undefined))[0]!.flags, ['NO-CARRIER', 'BROADCAST', 'MULTICAST', 'UP']);
  t.same(linksOf(reply({ type: 772, flags: 0x10049 }, () => undefined))[0]!.flags, ['LOOPBACK', 'UP', 'LOWER_UP']);
  t.same(linksOf(reply({ flags: 0x80000000 }, () => undefined))[0]!.flags, ['0x80000000'], 'of a later kernel');
  t.end();
});

await t.test('unknown enum values, attributes and kinds survive', (t) => {
  const [link] = linksOf(
    reply({ type: 4242 }, (writer) => {
      const state = writer.beginAttribute(16);
      writer.byte(42);
      writer.endAttribute(state);
      u32(writer, 999, 7);
      const info = writer.beginAttribute(18 | 0x8000);
      writer.attribute(1, Uint8Array.from([...'wormhole'].map((letter) => letter.charCodeAt(0))));
      writer.attribute(2, Uint8Array.of(1, 2, 3));
      writer.endAttribute(info);
    }),
  );
  t.match(link, {
    type: '4242',
    operstate: '42',
    kind: 'wormhole',
    info: Uint8Array.of(1, 2, 3),
    unknown: [{ type: 999, data: Uint8Array.of(7, 0, 0, 0) }],
  });
  t.end();
});

await t.test('where the other end is', (t) => {
  const elsewhere = linksOf(
    reply({}, (writer) => {
      u32(writer, 5, 9);
      u32(writer, 37, 0xffffffff);
    }),
  )[0]!;
  t.same(elsewhere.lower, { ifindex: 9, netnsid: -1 });
  t.notOk('lower' in linksOf(reply({}, (writer) => u32(writer, 5, 0)))[0]!, 'index 0 is none');
  const moved = linksOf(
    reply({}, (writer) => {
      u32(writer, 45, 3);
      u32(writer, 49, 12);
    }),
  )[0]!;
  t.same(moved.movedTo, { netnsid: 3, ifindex: 12 });
  t.end();
});

await t.test('sysctls', (t) => {
  const [link] = linksOf(
    reply({}, (writer) => {
      const spec = writer.beginAttribute(26);
      const inet = writer.beginAttribute(2);
      u32(writer, 1, ...Array.from({ length: 33 }, (_, index) => (index === 25 ? 1 : 0)));
      writer.endAttribute(inet);
      const inet6 = writer.beginAttribute(10);
      u32(writer, 1, 0x80000000);
      u32(writer, 2, 1, 64, 0xffffffff);
      writer.attribute(8, Uint8Array.of(1));
      writer.endAttribute(inet6);
      writer.endAttribute(spec);
    }),
  );
  t.equal(namedInetConf(link!.inet!.conf).route_localnet, 1);
  t.equal(namedInetConf(link!.inet!.conf).arp_evict_nocarrier, 0);
  t.same(namedInet6Conf(link!.inet6!.conf), { forwarding: 1, hop_limit: 64, mtu: -1 });
  t.equal(link!.addrGenMode, 'none');
  t.end();
});

await t.test('statistics when asked for, of older and newer kernels', (t) => {
  for (const words of [46, 50, 60]) {
    const data = reply({}, (writer) => u32(writer, 23, ...Array.from({ length: words }, (_, index) => (index % 2 === 0 ? index : 1))));
    t.notOk('statistics' in linksOf(data)[0]!);
    const { statistics } = linksOf(data, true)[0]!;
    t.equal(statistics!.tx_packets, (1n << 32n) + 2n);
    t.equal(statistics!.rx_otherhost_dropped, words < 50 ? 0n : (1n << 32n) + 48n);
  }
  t.end();
});

await t.test('a bridge port in an AF_BRIDGE message', (t) => {
  const [link] = linksOf(
    reply({ family: 7, index: 4 }, (writer) => {
      const info = writer.beginAttribute(12 | 0x8000);
      writer.attribute(1, Uint8Array.of(3));
      writer.endAttribute(info);
      const spec = writer.beginAttribute(26);
      writer.attribute(2, Uint8Array.of(6, 0, 1, 0));
      writer.attribute(2, Uint8Array.of(4, 0, 20, 0));
      writer.endAttribute(spec);
    }),
  );
  t.match(link, {
    ifindex: 4,
    port: { state: 'forwarding' },
    bridge: {
      vlan_info: [
        { flags: 6, vid: 1 },
        { flags: 4, vid: 20 },
      ],
    },
  });
  t.end();
});

await t.test('a veth with its far end in one request', (t) => {
  const { type, flags, header, attributes } = read(
    encodeLink(RTM_NEWLINK, creation, {
      name: 'va',
      ifindex: 50,
      mac: '02:00:00:00:00:01',
      mtu: 1400,
      up: true,
      kind: 'veth',
      netnsFd: 7,
      peer: { name: 'vb', ifindex: 60, mtu: 1300, netnsFd: 8, arp: false },
    }),
  );
  t.equal(type, RTM_NEWLINK);
  t.equal(flags, NLM_F_REQUEST | creation);
  t.match(header, { index: 50, flags: 1, change: 1 });
  t.same(attributes, {
    address: '02:00:00:00:00:01',
    ifname: 'va',
    mtu: 1400,
    net_ns_fd: 7,
    linkinfo: {
      kind: 'veth',
      data: { peer: { family: 0, pad: 0, type: 0, index: 60, flags: 0x80, change: 0x80, ifname: 'vb', mtu: 1300, net_ns_fd: 8 } },
    },
  });
  t.end();
});

await t.test('changes', (t) => {
  const { header, attributes } = read(
    encodeLink(RTM_SETLINK, 0, {
      ifindex: 5,
      newName: 'new',
      master: 0,
      up: false,
      promiscuous: true,
      allMulticast: false,
      arp: true,
      alias: '',
      addrGenMode: 'none',
      inetConf: { route_localnet: 1, rp_filter: 0 },
      mtu: undefined,
    }),
  );
  t.match(header, { index: 5, flags: 0x100, change: 0x1 | 0x80 | 0x100 | 0x200 });
  t.same(attributes, {
    ifname: 'new',
    master: 0,
    ifalias: '',
    af_spec: { inet: { conf: { route_localnet: 1, rp_filter: 0 } }, inet6: { addr_gen_mode: 'none' } },
  });
  t.same(read(encodeLink(RTM_NEWLINK, 0, { ifindex: 5, portKind: 'bridge', port: { learning: 0, isolated: 1 } })).attributes, {
    linkinfo: { slave_kind: 'bridge', slave_data: { learning: 0, isolated: 1 } },
  });
  t.end();
});

await t.test('a bridge and a macvtap', (t) => {
  const info = {
    forward_delay: 0,
    stp_state: 0,
    mcast_querier_intvl: 777,
    vlan_protocol: '802.1ad',
    multi_boolopt: { optval: 1, optmask: 1 },
  };
  t.same(read(encodeLink(RTM_NEWLINK, creation, { name: 'br', kind: 'bridge', info })).attributes.linkinfo, { kind: 'bridge', data: info });
  t.same(read(encodeLink(RTM_NEWLINK, creation, { name: 'mt', kind: 'macvtap', link: 2, info: { mode: 'bridge' } })).attributes, {
    ifname: 'mt',
    link: 2,
    linkinfo: { kind: 'macvtap', data: { mode: 'bridge' } },
  });
  t.end();
});

await t.test('by name, short or long', (t) => {
  const long = 'a-name-of-sixteen';
  t.same(read(encodeLinkGet('eth0')).attributes, { ifname: 'eth0', ext_mask: 8 });
  t.same(read(encodeLinkGet(long)).attributes, { alt_ifname: long, ext_mask: 8 }, 'instead of IFLA_IFNAME');
  t.same(read(encodeLinkGet('fifteen-letters')).attributes, { ifname: 'fifteen-letters', ext_mask: 8 });
  t.same(read(encodeLinkGet('bytes-count-ü')).attributes.ifname, 'bytes-count-ü');
  t.same(read(encodeLinkGet('bytes-count-üü')).attributes.alt_ifname, 'bytes-count-üü', 'bytes, not letters');
  t.match(read(encodeLinkGet(3)), { type: RTM_GETLINK, header: { index: 3 }, attributes: { ext_mask: 8 } });
  t.same(read(encodeLink(RTM_SETLINK, 0, { name: long, mtu: 9000 })).attributes, { alt_ifname: long, mtu: 9000 });
  t.same(
    read(encodeLink(RTM_NEWLINK, creation, { name: long, kind: 'ifb' })).attributes.ifname,
    long,
    'a new name is for the kernel to refuse',
  );
  t.same(read(encodeLink(RTM_NEWLINKPROP, 0, { ifindex: 2, altnames: [long, 'b'] })).attributes, {
    prop_list: { alt_ifname: [long, 'b'] },
  });
  t.end();
});

await t.test('dumps', (t) => {
  const { flags, attributes } = read(encodeLinkDump({ master: 3, kind: 'veth' }));
  t.equal(flags, NLM_F_REQUEST | 0x300);
  t.same(attributes, { master: 3, linkinfo: { kind: 'veth' }, ext_mask: 8 });
  t.same(read(encodeLinkDump({ kind: 'physical' })).attributes, { ext_mask: 8 }, 'not a kind of the kernel');
  t.match(read(encodeLinkDump({ family: 7, extMask: 2, master: 3 })), {
    header: { family: 7 },
    attributes: { ext_mask: 2, master: undefined },
  });
  t.end();
});

await t.test('deletions', (t) => {
  t.same(read(encodeLink(RTM_DELLINK, 0, { group: 4711 })), {
    type: RTM_DELLINK,
    flags: NLM_F_REQUEST,
    header: { family: 0, pad: 0, type: 0, index: 0, flags: 0, change: 0 },
    attributes: { group: 4711 },
  });
  t.end();
});

await t.test('what would hit others is refused', (t) => {
  t.throws(() => encodeLink(RTM_NEWLINK, 0, { group: 5, mtu: 100 }), TypeError, 'a whole group');
  t.throws(() => encodeLink(RTM_SETLINK, 0, { name: 'a', newName: 'b' }), TypeError, 'a rename by name');
  t.end();
});

await t.test('keys of a kind', (t) => {
  t.ok(infoKeys('bridge')?.includes('ageing_time'));
  t.ok(portKeys('bridge')?.includes('isolated'));
  t.same(infoKeys('ifb'), []);
  t.equal(infoKeys('wormhole'), undefined);
  t.equal(infoKeys('toString'), undefined);
  t.end();
});
