// Ethernet frames on the underlay, taken apart by hand: RFC 7348, figure 1.

export interface Vxlan {
  readonly from: string;
  readonly to: string;
  readonly port: number;
  readonly vni: number;
  /** Of the outer IP packet. */
  readonly outerLength: number;
  readonly fragment: boolean;
  readonly inner: {
    readonly source: string;
    readonly destination: string;
    readonly from: string;
    readonly to: string;
    readonly ttl: number;
    readonly protocol: number;
  };
}

const [ETHERNET, IPV4, UDP] = [14, 20, 17];

/** IPv4, UDP, to port 8472. */
export function isVxlan(frame: Uint8Array): boolean {
  const bytes = Buffer.from(frame);
  return bytes.readUInt16BE(12) === 0x0800 && bytes[ETHERNET + 9] === UDP && bytes.readUInt16BE(ETHERNET + IPV4 + 2) === 8472;
}

export function readVxlan(frame: Uint8Array): Vxlan {
  const bytes = Buffer.from(frame);
  const udp = ETHERNET + IPV4;
  const vxlan = udp + 8;
  const inner = bytes.subarray(vxlan + 8);
  return {
    from: ip(bytes, ETHERNET + 12),
    to: ip(bytes, ETHERNET + 16),
    port: bytes.readUInt16BE(udp + 2),
    vni: bytes[vxlan] === 0x08 ? bytes.readUIntBE(vxlan + 4, 3) : -1,
    outerLength: bytes.readUInt16BE(ETHERNET + 2),
    fragment: (bytes.readUInt16BE(ETHERNET + 6) & 0x3fff) !== 0,
    inner: {
      destination: mac(inner, 0),
      source: mac(inner, 6),
      from: ip(inner, ETHERNET + 12),
      to: ip(inner, ETHERNET + 16),
      ttl: inner[ETHERNET + 8]!,
      protocol: inner[ETHERNET + 9]!,
    },
  };
}

function ip(bytes: Buffer, at: number): string {
  return [...bytes.subarray(at, at + 4)].join('.');
}

function mac(bytes: Buffer, at: number): string {
  return bytes.toString('hex', at, at + 6).replace(/..(?=.)/g, '$&:');
}
