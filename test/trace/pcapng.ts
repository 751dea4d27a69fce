// A reader of pcapng that knows nothing of the writer: draft-ietf-opsawg-pcapng.

export interface ReadPcapng {
  readonly interfaces: { name: string | undefined; resolution: number | undefined; linkType: number }[];
  readonly packets: { of: number; time: bigint; length: number; direction: string | undefined; bytes: string }[];
  readonly statistics: { received: bigint | undefined; dropped: bigint | undefined }[];
}

export function readPcapng(file: Buffer): ReadPcapng {
  const read: ReadPcapng = { interfaces: [], packets: [], statistics: [] };
  if (file.readUInt32BE(0) !== 0x0a0d0d0a) throw new Error('no section header');
  const little = file.readUInt32LE(8) === 0x1a2b3c4d;
  const u16 = (at: number): number => (little ? file.readUInt16LE(at) : file.readUInt16BE(at));
  const u32 = (at: number): number => (little ? file.readUInt32LE(at) : file.readUInt32BE(at));
  const u64 = (at: number): bigint => (little ? file.readBigUInt64LE(at) : file.readBigUInt64BE(at));
  for (let at = 0; at < file.length;) {
    const [type, size] = [u32(at), u32(at + 4)];
    if (size % 4 !== 0 || u32(at + size - 4) !== size) throw new Error(`the block at ${at} has no end`);
    const options = (from: number): Map<number, { at: number; length: number }> => {
      const found = new Map<number, { at: number; length: number }>();
      for (let option = from; option < at + size - 4;) {
        const [code, length] = [u16(option), u16(option + 2)];
        if (code === 0) return found;
        found.set(code, { at: option + 4, length });
        option += 4 + ((length + 3) & ~3);
      }
      throw new Error(`the options at ${from} have no end`);
    };
    if (type === 1) {
      const given = options(at + 16);
      const name = given.get(2);
      const resolution = given.get(9);
      read.interfaces.push({
        name: name && file.toString('utf8', name.at, name.at + name.length),
        resolution: resolution && file[resolution.at],
        linkType: u16(at + 8),
      });
    } else if (type === 6) {
      const captured = u32(at + 20);
      const flags = options(at + 28 + ((captured + 3) & ~3)).get(2);
      read.packets.push({
        of: u32(at + 8),
        time: (BigInt(u32(at + 12)) << 32n) | BigInt(u32(at + 16)),
        length: u32(at + 24),
        direction: flags && ['unknown', 'in', 'out'][u32(flags.at) & 3],
        bytes: file.toString('hex', at + 28, at + 28 + captured),
      });
    } else if (type === 5) {
      const given = options(at + 20);
      const [received, dropped] = [given.get(4), given.get(7)];
      read.statistics.push({ received: received && u64(received.at), dropped: dropped && u64(dropped.at) });
    }
    at += size;
  }
  return read;
}
