// Values to bytes to values, and bytes of any kind to values: decoders never throw, never hang, and a broken message costs no other.
import fc from 'fast-check';
import t from 'tap';
import { type AnyTable, decode, encode } from '../../lib/wire/attribute.js';
import { RTM_NEWADDR, decodeAddress, encodeAddress } from '../../lib/wire/address.js';
import { Bytes, align } from '../../lib/wire/bytes.js';
import { describe } from '../../lib/wire/describe.js';
import { type Ack, decodeAck, explain } from '../../lib/wire/error.js';
import { messageFamilyOf, messageKinds } from '../../lib/wire/families.js';
import { RTM_NEWLINK, decodeLink, encodeLink, linkKinds, portKinds } from '../../lib/wire/link.js';
import { type Message, NLM_F_CREATE, NLM_F_REQUEST, eachMessage } from '../../lib/wire/message.js';
import {
  decodeChain,
  decodeElements,
  decodeGeneration,
  decodeRule as decodeNftRule,
  decodeSet,
  decodeTable,
} from '../../lib/wire/nft/message.js';
import { RTM_NEWNEIGH, decodeNeighbor } from '../../lib/wire/neighbor.js';
import { RTM_NEWROUTE, decodeRoute } from '../../lib/wire/route.js';
import { RTM_NEWRULE, decodeRule } from '../../lib/wire/rule.js';
import { RTM_NEWQDISC, RTM_NEWTFILTER, decodeFilter, decodeQdisc } from '../../lib/wire/tc.js';
import { Writer } from '../../lib/wire/writer.js';

const runs = { numRuns: Number(process.env.FUZZ_RUNS ?? 300) };

const decoders: Readonly<Record<number, (from: Bytes, message: Message) => unknown>> = {
  [RTM_NEWLINK]: (from, message) => decodeLink(from, message, true),
  [RTM_NEWADDR]: decodeAddress,
  [RTM_NEWROUTE]: decodeRoute,
  [RTM_NEWNEIGH]: decodeNeighbor,
  [RTM_NEWRULE]: decodeRule,
  [RTM_NEWQDISC]: decodeQdisc,
  [RTM_NEWTFILTER]: decodeFilter,
  // NFT_MSG_NEW*
  0x0a00: decodeTable,
  0x0a03: decodeChain,
  0x0a06: decodeNftRule,
  0x0a09: decodeSet,
  0x0a0c: decodeElements,
  0x0a0f: decodeGeneration,
  2: (from, message): Ack => decodeAck(from, message),
  3: (from, message): Ack => decodeAck(from, message),
};

/** Everything that reads bytes, over these bytes. Returns the types of the messages that were seen. */
function readAll(data: Uint8Array): number[] {
  const from = Bytes.copy(data);
  const seen: number[] = [];
  eachMessage(from, data.length, (message) => {
    seen.push(message.type);
    decoders[message.type]?.(from, message);
    if (message.type === 2 || message.type === 3) explain(data, decodeAck(from, message));
    const family = messageFamilyOf(message.type, message.flags, message.start < message.end ? from.u8[message.start]! : 0);
    if (family !== undefined) decode(family.table, from, message.start + family.size, message.end);
  });
  describe(data);
  return seen;
}

function message(type: number, flags: number, body: Uint8Array): Uint8Array {
  const writer = new Writer();
  writer.u32(16 + body.length);
  writer.u16(type);
  writer.u16(flags);
  writer.u32(1);
  writer.u32(0);
  writer.bytes(body);
  writer.pad(align(writer.length));
  return writer.finish();
}
function joined(...parts: readonly Uint8Array[]): Uint8Array {
  const all = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

const octets = (maxLength: number): fc.Arbitrary<Uint8Array> => fc.uint8Array({ maxLength });
const macs = fc
  .uint8Array({ minLength: 6, maxLength: 6 })
  .map((bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join(':'));
const u8s = fc.integer({ min: 0, max: 255 });
const u16s = fc.integer({ min: 0, max: 0xffff });
const u32s = fc.integer({ min: 0, max: 0xffffffff });
const texts = fc.string({ unit: 'grapheme', maxLength: 40 }).filter((text) => !text.includes('\0'));
const types = fc.constantFrom(...Object.keys(messageKinds).map(Number), 9999);

/** Attributes that are well formed and say anything: their bodies are nests again, or bytes. */
const { nest } = fc.letrec<{ nest: Uint8Array; attribute: Uint8Array }>((tie) => ({
  nest: fc.array(tie('attribute'), { maxLength: 8 }).map((attributes) => joined(...attributes)),
  attribute: fc
    .tuple(
      fc.oneof({ weight: 4, arbitrary: fc.integer({ min: 0, max: 70 }) }, { weight: 1, arbitrary: u16s }),
      fc.oneof(
        { depthSize: 'small' },
        octets(24),
        texts.map((text) => new TextEncoder().encode(`${text}\0`)),
        fc.constantFrom(...Object.keys(linkKinds)).map((kind) => new TextEncoder().encode(`${kind}\0`)),
        tie('nest'),
      ),
    )
    .map(([type, data]) => {
      const writer = new Writer();
      writer.attribute(type, data);
      return writer.finish();
    }),
}));

await t.test('random bytes', (t) => {
  fc.assert(
    fc.property(octets(400), (data) => void readAll(data)),
    runs,
  );
  t.end();
});

await t.test('messages with random bodies, and none is lost', (t) => {
  const body = fc.oneof(
    octets(200),
    fc.tuple(octets(20), nest).map(([header, attributes]) => joined(header, attributes)),
  );
  fc.assert(
    fc.property(fc.array(fc.tuple(types, u16s, body), { maxLength: 6 }), (given) => {
      const data = joined(...given.map(([type, flags, bytes]) => message(type, flags, bytes)));
      t.same(
        readAll(data),
        given.map(([type]) => type),
      );
    }),
    runs,
  );
  t.end();
});

await t.test('a truncated buffer loses its last message at most', (t) => {
  fc.assert(
    fc.property(fc.array(fc.tuple(types, octets(60)), { minLength: 1, maxLength: 5 }), fc.nat(), (given, cut) => {
      const messages = given.map(([type, body]) => message(type, 0, body));
      const data = joined(...messages);
      const length = cut % (data.length + 1);
      let whole = 0;
      for (let end = 0; whole < given.length; whole++) {
        const size = 16 + given[whole]![1].length; // without the padding, which need not be there
        if (end + size > length) break;
        end += messages[whole]!.length;
      }
      t.equal(readAll(data.slice(0, length)).length, whole);
    }),
    runs,
  );
  t.end();
});

await t.test('flipped bits in real requests', (t) => {
  const requests = [
    encodeLink(RTM_NEWLINK, NLM_F_CREATE, {
      name: 'va',
      kind: 'veth',
      mtu: 1400,
      up: true,
      peer: { name: 'vb', mac: '02:00:00:00:00:01' },
    }),
    encodeLink(RTM_NEWLINK, NLM_F_CREATE, {
      name: 'br',
      kind: 'bridge',
      info: { ageing_time: 1, mcast_querier_intvl: 5, root_id: '8000.02:00:00:00:00:01' },
    }),
    encodeLink(RTM_NEWLINK, 0, {
      ifindex: 3,
      portKind: 'bridge',
      port: { isolated: 1 },
      altnames: ['a', 'b'],
      inetConf: { forwarding: 1 },
      addrGenMode: 'none',
    }),
    encodeAddress(RTM_NEWADDR, 0, 1, { address: 'fd00::1/64', validLifetime: 9, flags: ['nodad'] }),
  ];
  fc.assert(
    fc.property(
      fc.constantFrom(...requests),
      fc.array(fc.nat(), { minLength: 1, maxLength: 12 }),
      fc.boolean(),
      (request, flips, asReply) => {
        const first = request.slice();
        if (asReply) first[6] = first[6]! & ~NLM_F_REQUEST;
        // The lengths of the messages stay: what a kernel sends has them right, and what stands behind must not be lost.
        for (const flip of flips) {
          const bit = flip % ((first.length - 16) * 8);
          first[16 + (bit >> 3)]! ^= 1 << (bit & 7);
        }
        t.same(readAll(joined(first, requests[3]!)).length, 2);
      },
    ),
    runs,
  );
  t.end();
});

await t.test('explanations of any offset', (t) => {
  const request = encodeLink(RTM_NEWLINK, NLM_F_CREATE, { name: 'va', kind: 'veth', peer: { name: 'vb' } });
  fc.assert(
    fc.property(
      fc.oneof(fc.nat(request.length), u32s),
      u32s,
      fc.oneof(fc.nat(request.length), u32s),
      (offset, missingType, missingNest) => {
        t.type(explain(request, { errno: 22, offset, missingType, missingNest }), 'object');
      },
    ),
    runs,
  );
  t.end();
});

/** Absent and false are the same of a flag: `false` is not written. */
function withoutFalse(values: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== false));
}

function roundTrip(table: AnyTable, data: Uint8Array): boolean {
  const once = decode(table, Bytes.copy(data), 0, data.length);
  const writer = new Writer();
  encode(table, writer, once);
  const written = writer.finish();
  return t.same(decode(table, Bytes.copy(written), 0, written.length), withoutFalse(once));
}

await t.test('what a table decodes it encodes again, of every kind of link and port', (t) => {
  const tables = [...Object.values(linkKinds), ...Object.values(portKinds)].map((format) => format.table!);
  // The numbers are those of the table, so that most of what comes is known to it.
  const pairs = fc.constantFrom(...tables).chain((table) =>
    fc
      .array(
        fc.tuple(
          fc.nat(table.byType.length + 2),
          fc.oneof(octets(2), octets(16), fc.uint8Array({ minLength: 8, maxLength: 8 }), fc.uint8Array({ minLength: 4, maxLength: 4 })),
        ),
        { maxLength: 12 },
      )
      .map((attributes) => {
        const writer = new Writer();
        for (const [type, data] of attributes) writer.attribute(type, data);
        return { table, data: writer.finish() };
      }),
  );
  fc.assert(
    fc.property(pairs, ({ table, data }) => roundTrip(table, data)),
    runs,
  );
  t.end();
});

await t.test('links there and back', (t) => {
  const requests = fc.record(
    {
      mac: macs,
      broadcast: macs,
      mtu: u32s,
      up: fc.boolean(),
      txQueueLength: u32s,
      group: u32s,
      numTxQueues: u32s,
      numRxQueues: u32s,
      alias: texts,
      master: u32s,
    },
    { requiredKeys: ['mac', 'up'] },
  );
  fc.assert(
    fc.property(requests, fc.integer({ min: 1, max: 0x7fffffff }), texts, u16s, u8s, (request, ifindex, name, priority, isolated) => {
      const data = encodeLink(RTM_NEWLINK, NLM_F_CREATE, {
        ...request,
        ifindex,
        name,
        kind: 'bridge',
        info: { priority },
        portKind: 'bridge',
        port: { isolated },
      });
      const from = Bytes.copy(data);
      let seen = 0;
      eachMessage(from, data.length, (message) => {
        seen++;
        t.match(decodeLink(from, message), {
          ...request,
          ifindex,
          name,
          kind: 'bridge',
          info: { priority },
          portKind: 'bridge',
          port: { isolated },
        });
      });
      t.equal(seen, 1);
    }),
    runs,
  );
  t.end();
});

await t.test('addresses there and back', (t) => {
  const prefix4 = fc.tuple(fc.ipV4(), fc.integer({ min: 0, max: 32 })).map(([address, length]) => `${address}/${length}`);
  const values = fc.record(
    {
      address: prefix4,
      label: texts,
      scope: fc.constantFrom('global', 'site', 'link', 'host', '77'),
      validLifetime: fc.integer({ min: 0, max: 0xfffffffe }),
      metric: u32s,
      protocol: u8s,
      flags: fc.subarray(['nodad', 'noprefixroute', 'home', 'mngtmpaddr']),
    },
    { requiredKeys: ['address'] },
  );
  fc.assert(
    fc.property(values, u32s, (address, ifindex) => {
      const data = encodeAddress(RTM_NEWADDR, 0, ifindex, address);
      const from = Bytes.copy(data);
      eachMessage(from, data.length, (message) => {
        const { flags = [], ...rest } = address;
        const back = decodeAddress(from, message);
        t.match(back, { ...rest, ifindex });
        t.same([...back.flags!].sort(), [...flags].sort());
      });
    }),
    runs,
  );
  t.end();
});
