// Frames between bytes and values. Their bytes are tcpdump's, or made by hand from the RFCs.
import t from 'tap';
import { decodeCaptured } from '../../lib/wire/capture.js';
import { type Frame, decodeFrame, encodeFrame, frameLength } from '../../lib/wire/frame.js';

function bytes(...lines: readonly string[]): Uint8Array {
  return Uint8Array.from(Buffer.from(lines.join('').replace(/\s/g, ''), 'hex'));
}

const ethernet = '02 00 00 00 00 02  02 00 00 00 00 01';
const ping = [ethernet, '08 00', '45 00 00 54 12 34 40 00 3f 01 00 00 0a 00 00 01 0a 00 00 02', '08 00 00 00 00 01 00 01', '00'.repeat(56)];
const echo: Frame = {
  source: '02:00:00:00:00:01',
  destination: '02:00:00:00:00:02',
  type: 0x0800,
  packet: { source: '10.0.0.1', destination: '10.0.0.2', ttl: 63, protocol: 'icmp', length: 84, dontFragment: true, icmp: { type: 8, code: 0 } }, // prettier-ignore
};

await t.test('decoded', async (t) => {
  t.strictSame(decodeFrame(bytes(...ping)), echo);
  t.strictSame(decodeFrame(bytes(ethernet, '88 a8 00 07 81 00 a0 05', ...ping.slice(1))), { ...echo, vlans: [7, 5] });
  t.strictSame(decodeFrame(bytes('ff ff ff ff ff ff 02 00 00 00 00 01 08 06', '00 01 08 00 06 04 00 01', '02 00 00 00 00 01 0a 00 00 01', '00 00 00 00 00 00 0a 00 00 02', '00 00'))?.arp, { operation: 'request', sender: { mac: '02:00:00:00:00:01', address: '10.0.0.1' }, target: { mac: '00:00:00:00:00:00', address: '10.0.0.2' } }); // prettier-ignore
  t.match(decodeFrame(bytes(ethernet, '86 dd', '60 00 00 00 00 0c 11 09', 'fd'.padEnd(32, '0'), 'fe80'.padEnd(31, '0'), '1', '00 35 12 34 00 0c 00 00', '00 00 00 00'))?.packet, { source: 'fd00::', destination: 'fe80::1', ttl: 9, length: 52, protocol: 'udp', ports: { source: 53, destination: 0x1234 } }); // prettier-ignore
  // Options push the ports back; fragments behind the first have none.
  t.strictSame(decodeFrame(bytes(ethernet, '08 00', '46 00 00 20 00 00 00 00 09 06 00 00 0a 00 00 01 0a 00 00 02 01 01 01 00', '00 16 00 50 00 00 00 00'))?.packet?.ports, { source: 22, destination: 80 }); // prettier-ignore
  t.match(decodeFrame(bytes(ethernet, '08 00', '45 00 00 1c 00 00 00 b9 09 11 00 00 0a 00 00 01 0a 00 00 02', '00 35 00 35 00 08 00 00'))?.packet, { fragmentOffset: 1480, ports: undefined }); // prettier-ignore
});

await t.test('inside of VXLAN', async (t) => {
  const outer = [ethernet, '08 00', '45 00 00 86 00 00 00 00 40 11 00 00 c0 a1 01 05 c0 a0 00 06', 'd7 00 21 18 00 72 00 00', '08 00 00 00 00 00 01 00']; // prettier-ignore
  t.strictSame(decodeFrame(bytes(...outer, ...ping))?.packet, { source: '192.161.1.5', destination: '192.160.0.6', ttl: 64, protocol: 'udp', length: 134, dontFragment: false, ports: { source: 0xd700, destination: 8472 }, vxlan: { vni: 1, frame: echo } }); // prettier-ignore
  t.equal(decodeFrame(bytes(...outer, ...ping), { vxlanPorts: [4789] })?.packet?.vxlan, undefined);
  t.equal(
    decodeFrame(bytes(...outer.slice(0, -1), '00 00 00 00 00 00 01 00', ...ping))?.packet?.vxlan,
    undefined,
    'the VNI does not count',
  );
});

await t.test('what is cut off is left out, and nothing is read behind the end', async (t) => {
  const outer = encodeFrame({ ...echo, packet: { ...echo.packet!, protocol: 'udp', length: 134, ports: { source: 9, destination: 8472 }, vxlan: { vni: 5, frame: echo } } }); // prettier-ignore
  for (let length = 0; length < outer.length; length++) t.doesNotThrow(() => decodeFrame(outer.subarray(0, length)), { diagnostic: false });
  t.equal(decodeFrame(outer.subarray(0, 13)), undefined);
  t.equal(decodeFrame(outer.subarray(0, 33))?.packet, undefined);
});

await t.test('encoded, and decoded again', async (t) => {
  const { icmp: _, ...plain } = echo.packet!;
  const frames: readonly Frame[] = [
    echo,
    { ...echo, vlans: [9] },
    { ...echo, packet: { ...plain, protocol: 'udp', length: 134, dontFragment: false, ports: { source: 9, destination: 8472 }, vxlan: { vni: 0xabcdef, frame: echo } } },
    { ...echo, type: 0x86dd, packet: { source: 'fd00::1', destination: 'fd00::2', ttl: 1, protocol: 'tcp', length: 60, ports: { source: 1, destination: 65535 } } },
    { source: echo.source, destination: echo.destination, type: 0x0806, arp: { operation: 'reply', sender: { mac: echo.source, address: '10.0.0.1' }, target: { mac: echo.destination, address: '10.0.0.2' } } },
  ]; // prettier-ignore
  for (const { packet, ...rest } of frames) {
    const frame = { ...rest, ...(packet !== undefined && { packet }) };
    const encoded = encodeFrame(frame);
    t.strictSame(decodeFrame(encoded), frame);
    t.equal(encoded.length, frameLength(frame));
  }
});

await t.test('a tag that the kernel keeps beside the frame is put back', async (t) => {
  const record = new Uint8Array(24 + 20);
  const view = new DataView(record.buffer);
  view.setBigUint64(0, 1_700_000_000_123_456_789n, true);
  view.setUint32(8, 20, true);
  view.setUint16(12, 7, true);
  view.setUint16(14, 0x8100, true);
  record[16] = 4;
  record.set(bytes(ethernet, '08 00 11 22 33 44 55 66'), 24);
  const { time, length, type, bytes: frame } = decodeCaptured(record);
  t.strictSame({ time, length, type }, { time: 1_700_000_000_123_456_789n, length: 24, type: 'outgoing' });
  t.equal(Buffer.from(frame).toString('hex'), Buffer.from(bytes(ethernet, '81 00 00 07 08 00 11 22 33 44 55 66')).toString('hex'));
});
