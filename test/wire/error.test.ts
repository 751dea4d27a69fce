// Extended acknowledgements. The bytes are a kernel's (6.18), with sequence numbers and port ids of 0.
import t from 'tap';
import { Bytes } from '../../lib/wire/bytes.js';
import { describe } from '../../lib/wire/describe.js';
import { errnoCode, errnoMessage, errnoNumber } from '../../lib/wire/errno.js';
import { type Ack, decodeAck, explain } from '../../lib/wire/error.js';
import { RTM_NEWLINK, encodeLink } from '../../lib/wire/link.js';
import { NLM_F_CREATE, NLM_F_EXCL, eachMessage } from '../../lib/wire/message.js';
import { Writer } from '../../lib/wire/writer.js';

function ackOf(data: Uint8Array): Ack {
  const acks: Ack[] = [];
  const from = Bytes.copy(data);
  eachMessage(from, data.length, (message) => acks.push(decodeAck(from, message)));
  t.equal(acks.length, 1);
  return acks[0]!;
}
function hex(text: string): Uint8Array {
  return Uint8Array.from(text.match(/../g) ?? [], (octet) => parseInt(octet, 16));
}
/** An answer by hand: the error, what it quotes, the TLVs. */
function answer(type: number, flags: number, errno: number, quoted: Uint8Array, tlvs: (writer: Writer) => void): Uint8Array {
  const writer = new Writer();
  writer.u32(0);
  writer.u16(type);
  writer.u16(flags);
  writer.u32(0);
  writer.u32(0);
  writer.u32(-errno);
  writer.bytes(quoted);
  tlvs(writer);
  writer.setU32(0, writer.length);
  return writer.finish();
}
function text(writer: Writer, type: number, value: string): void {
  writer.attribute(type, Uint8Array.from([...new TextEncoder().encode(value), 0]));
}
function number(writer: Writer, type: number, value: number): void {
  const at = writer.beginAttribute(type);
  writer.u32(value);
  writer.endAttribute(at);
}

const creation = NLM_F_CREATE | NLM_F_EXCL;
const tooLong = 'a-name-of-twenty-cha';
const policyError =
  '68000000020000030000000000000000deffffff4c00000010000506000000000000000027000100417474726962757465206661696c656420706f6c6963792076616c69646174696f6e0000' +
  '080002002000000014000480080007000f000000080001000b000000';
const peerError =
  '68000000020000030000000000000000deffffff6c00000010000506000000000000000027000100417474726962757465206661696c656420706f6c6963792076616c69646174696f6e0000' +
  '080002005000000014000480080007000f000000080001000b000000';
const dumpError =
  '4c000000030002020000000000000000eaffffff3800010046696c7465722062792064657669636520696e646578206e6f7420737570706f7274656420666f72206c696e6b2064756d707300';

await t.test('a name that is too long', (t) => {
  const ack = ackOf(hex(policyError));
  t.same(ack, {
    errno: 34,
    requestType: RTM_NEWLINK,
    message: 'Attribute failed policy validation',
    offset: 32,
    policy: { type: 'string', maxLength: 15 },
  });
  const request = encodeLink(RTM_NEWLINK, creation, { name: tooLong, kind: 'veth' });
  t.same(explain(request, ack), {
    message: 'Attribute failed policy validation',
    attribute: 'IFLA_IFNAME',
    offset: 32,
    policy: { type: 'string', maxLength: 15 },
  });
  t.end();
});

await t.test('the name of the far end', (t) => {
  const request = encodeLink(RTM_NEWLINK, creation, { name: 'q5', kind: 'veth', peer: { name: `${tooLong}rs` } });
  t.equal(explain(request, ackOf(hex(peerError)))?.attribute, 'IFLA_LINKINFO.IFLA_INFO_DATA.VETH_INFO_PEER.IFLA_IFNAME');
  t.end();
});

await t.test('a bridge attribute by its full name', (t) => {
  const request = encodeLink(RTM_NEWLINK, creation, { name: 'br0', kind: 'bridge', info: { ageing_time: 1 } });
  const offset = request.length - 8;
  t.equal(explain(request, { errno: 22, offset })?.attribute, 'IFLA_LINKINFO.IFLA_INFO_DATA.IFLA_BR_AGEING_TIME');
  t.end();
});

await t.test('the end of a dump that failed', (t) => {
  t.same(ackOf(hex(dumpError)), { errno: 22, message: 'Filter by device index not supported for link dumps' });
  t.end();
});

await t.test('missing attributes', (t) => {
  const request = encodeLink(RTM_NEWLINK, creation, { name: 'x', kind: 'vxlan', info: { port: 1 } });
  const top = ackOf(answer(2, 0x300, 22, request.subarray(0, 16), (writer) => number(writer, 5, 18)));
  t.same(top, { errno: 22, requestType: RTM_NEWLINK, missingType: 18 });
  t.same(explain(request, top), { missing: 'IFLA_LINKINFO' });
  const data = request.length - 12; // the header of IFLA_INFO_DATA
  const nested = ackOf(
    answer(2, 0x300, 22, request.subarray(0, 16), (writer) => {
      number(writer, 5, 1);
      number(writer, 6, data);
    }),
  );
  t.same(explain(request, nested), { missing: 'IFLA_LINKINFO.IFLA_INFO_DATA.IFLA_VXLAN_ID' });
  t.same(explain(request, { errno: 22, missingType: 1, missingNest: 4000 }), { missing: 'the nest at 4000: attribute 1' });
  t.end();
});

await t.test('warnings come with a success', (t) => {
  const request = encodeLink(RTM_NEWLINK, creation, { name: 'x', kind: 'ifb' });
  const ack = ackOf(answer(2, 0x300, 0, request.subarray(0, 16), (writer) => text(writer, 1, 'deprecated')));
  t.same(ack, { errno: 0, requestType: RTM_NEWLINK, message: 'deprecated' });
  t.same(explain(request, ack), { message: 'deprecated' });
  t.end();
});

await t.test('uncapped: the whole request stands before the attributes', (t) => {
  const request = encodeLink(RTM_NEWLINK, creation, { name: 'x', kind: 'ifb' });
  const ack = ackOf(answer(2, 0x200, 17, request, (writer) => text(writer, 1, 'there is one')));
  t.same(ack, { errno: 17, requestType: RTM_NEWLINK, message: 'there is one' });
  t.end();
});

await t.test('without ACK_TLVS what follows is not read', (t) => {
  const request = encodeLink(RTM_NEWLINK, creation, { name: 'x', kind: 'ifb' });
  t.same(ackOf(answer(2, 0x100, 17, request.subarray(0, 16), (writer) => text(writer, 1, 'no'))), { errno: 17, requestType: RTM_NEWLINK });
  t.equal(explain(request, { errno: 17 }), undefined);
  t.end();
});

await t.test('hostile answers', (t) => {
  const lying = hex(policyError);
  lying.set([0x10, 0, 0, 0x80], 20); // the quoted length: negative, were it read as signed
  lying[7] = 2;
  t.same(ackOf(lying), { errno: 34, requestType: RTM_NEWLINK });
  t.same(ackOf(answer(2, 0x300, 5, new Uint8Array(), () => undefined)), { errno: 5 }, 'nothing quoted');
  t.equal(explain(new Uint8Array(3), { errno: 1, offset: 5, message: 'x' })?.attribute, undefined);
  t.end();
});

await t.test('names of errors', (t) => {
  t.equal(errnoCode(-19), 'ENODEV');
  t.equal(errnoCode(524), 'ENOTSUPP');
  t.equal(errnoCode(52), 'EBADE');
  t.equal(errnoCode(74), 'EBADMSG');
  t.equal(errnoCode(4095), 'E4095');
  t.equal(errnoMessage(1), 'operation not permitted');
  t.equal(errnoMessage(4095), 'unknown error 4095');
  t.equal(errnoNumber('EEXIST'), 17);
  t.equal(errnoNumber('toString'), undefined);
  t.end();
});

await t.test('as text', (t) => {
  const request = encodeLink(RTM_NEWLINK, creation, { name: tooLong, kind: 'veth' });
  t.equal(
    describe(request),
    ['RTM_NEWLINK REQUEST|EXCL|CREATE seq 0 76 bytes', `  IFLA_IFNAME "${tooLong}"`, '  IFLA_LINKINFO', '    IFLA_INFO_KIND "veth"'].join(
      '\n',
    ),
  );
  t.equal(
    describe(hex(policyError), { request }),
    [
      'NLMSG_ERROR CAPPED|ACK_TLVS seq 0 104 bytes: ERANGE, numerical result out of range to RTM_NEWLINK',
      '  message "Attribute failed policy validation"',
      '  attribute "IFLA_IFNAME"',
      '  offset 32',
      '  policy { type "string", maxLength 15 }',
    ].join('\n'),
  );
  t.equal(describe(Uint8Array.of(1, 2, 3)), 'no whole message: 010203');
  t.equal(describe(new Uint8Array()), '');
  t.end();
});
