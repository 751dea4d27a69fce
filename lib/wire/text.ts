// Addresses as text. The decoders call these for every route and neighbour of a dump, where making strings is most of the work:
// hence the tables of pairs of octets, and the memory of addresses seen of late (the gateway of a thousand routes is one string).

const decimal = Array.from({ length: 256 }, (_, n) => String(n));
const hex = Array.from({ length: 256 }, (_, n) => n.toString(16).padStart(2, '0'));
const shortHex = Array.from({ length: 256 }, (_, n) => n.toString(16));

type Pairs = (string | undefined)[];
/** '10.1.' by 10 and 1, and '0.2' by 0 and 2; filled as they are needed. */
const firstPairs: (Pairs | undefined)[] = Array<undefined>(256).fill(undefined);
const lastPairs: (Pairs | undefined)[] = Array<undefined>(256).fill(undefined);

const RECENT = 256;
const recentIpv4 = new Int32Array(RECENT); // at first 0.0.0.0, as its texts
const recentIpv4Text: string[] = Array<string>(RECENT).fill('0.0.0.0');

/** inet_ntop(AF_INET). */
export function formatIpv4(u8: Uint8Array, at: number): string {
  const a = u8[at]!;
  const b = u8[at + 1]!;
  const c = u8[at + 2]!;
  const d = u8[at + 3]!;
  const word = (a << 24) | (b << 16) | (c << 8) | d;
  const slot = a ^ b ^ c ^ d;
  if (recentIpv4[slot] === word) return recentIpv4Text[slot]!;
  const first = (firstPairs[a] ??= emptyPairs());
  const last = (lastPairs[c] ??= emptyPairs());
  const text = (first[b] ??= `${decimal[a]}.${decimal[b]}.`) + (last[d] ??= `${decimal[c]}.${decimal[d]}`);
  recentIpv4[slot] = word;
  recentIpv4Text[slot] = text;
  return text;
}

function emptyPairs(): Pairs {
  return Array<undefined>(256).fill(undefined);
}

const recentIpv6 = new Uint8Array(16 * RECENT);
const recentIpv6Text: string[] = Array<string>(RECENT).fill('::');

/** inet_ntop(AF_INET6), in the form of RFC 5952: lower case, the longest run of zero groups (two at least) shortened. */
export function formatIpv6(u8: Uint8Array, at: number): string {
  const slot = u8[at + 7]! ^ u8[at + 13]! ^ u8[at + 14]! ^ u8[at + 15]!;
  let index = 0;
  while (index < 16 && recentIpv6[16 * slot + index] === u8[at + index]) index++;
  if (index === 16) return recentIpv6Text[slot]!;
  const text = writeIpv6(u8, at);
  for (index = 0; index < 16; index++) recentIpv6[16 * slot + index] = u8[at + index]!;
  recentIpv6Text[slot] = text;
  return text;
}

function writeIpv6(u8: Uint8Array, at: number): string {
  let bestStart = -1;
  let bestLength = 1;
  let run = 0;
  for (let group = 0; group < 8; group++) {
    run = u8[at + 2 * group] === 0 && u8[at + 2 * group + 1] === 0 ? run + 1 : 0;
    if (run > bestLength) {
      bestLength = run;
      bestStart = group - run + 1;
    }
  }
  // ::ffff:0:0/96 is written with dots, as inet_ntop(3) does.
  if (bestStart === 0 && bestLength === 5 && u8[at + 10] === 255 && u8[at + 11] === 255) return `::ffff:${formatIpv4(u8, at + 12)}`;
  let text = '';
  let group = 0;
  if (bestStart !== -1) {
    while (group < bestStart) text += groupText(u8, at + 2 * group++);
    text += bestStart === 0 ? '::' : ':';
    group += bestLength;
    if (group === 8) return text;
  }
  while (group < 7) text += groupText(u8, at + 2 * group++);
  const high = u8[at + 14]!;
  const low = u8[at + 15]!;
  return text + (high === 0 ? shortHex[low]! : shortHex[high]! + hex[low]!);
}

/** 'fd00:' by 0xfd and 0. */
const groupPairs: (Pairs | undefined)[] = Array<undefined>(256).fill(undefined);

function groupText(u8: Uint8Array, at: number): string {
  const high = u8[at]!;
  const low = u8[at + 1]!;
  const pairs = (groupPairs[high] ??= emptyPairs());
  return (pairs[low] ??= `${((high << 8) | low).toString(16)}:`);
}

/** Text of 4 or 16 bytes; undefined for any other length. */
export function formatIp(u8: Uint8Array, at: number, length: number): string | undefined {
  return length === 4 ? formatIpv4(u8, at) : length === 16 ? formatIpv6(u8, at) : undefined;
}

/** 4 or 16 bytes, or undefined where the text is no address. Zones (fe80::1%eth0) are refused. */
export function parseIp(text: string): Uint8Array | undefined {
  return text.includes(':') ? parseIpv6(text) : parseIpv4(text);
}

const octet = '(?:25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)';
const fourOctets = new RegExp(`^${octet}(?:\\.${octet}){3}$`);

// Not by node:net, which brings all of Node's streams with it.
function parseIpv4(text: string): Uint8Array | undefined {
  return fourOctets.test(text) ? Uint8Array.from(text.split('.'), Number) : undefined;
}

function parseIpv6(text: string): Uint8Array | undefined {
  let plain = text;
  if (text.includes('.')) {
    const colon = text.lastIndexOf(':') + 1;
    const tail = parseIpv4(text.slice(colon));
    if (tail === undefined) return undefined;
    plain = `${text.slice(0, colon)}${hex[tail[0]!]}${hex[tail[1]!]}:${hex[tail[2]!]}${hex[tail[3]!]}`;
  }
  const [head = '', rest, ...more] = plain.split('::');
  const before = head === '' ? [] : head.split(':');
  const after = rest === undefined || rest === '' ? [] : rest.split(':');
  const zeros = 8 - before.length - after.length; // '::' stands for one group at least
  if (more.length > 0 || (rest === undefined ? zeros !== 0 : zeros < 1)) return undefined;
  const groups = [...before, ...Array<string>(zeros).fill('0'), ...after];
  if (!groups.every((group) => /^[0-9a-f]{1,4}$/i.test(group))) return undefined;
  const bytes = new Uint8Array(16);
  groups.forEach((group, index) => {
    const value = parseInt(group, 16);
    bytes[2 * index] = value >> 8;
    bytes[2 * index + 1] = value & 255;
  });
  return bytes;
}

/** A link-layer address of any length, in lower case: 02:00:00:00:00:22. */
export function formatMac(u8: Uint8Array, at: number, length: number): string {
  if (length === 0) return '';
  let text = hex[u8[at]!]!;
  for (let index = 1; index < length; index++) text += `:${hex[u8[at + index]!]}`;
  return text;
}

export function parseMac(text: string): Uint8Array | undefined {
  if (!/^[0-9a-f]{1,2}(:[0-9a-f]{1,2})*$/i.test(text)) return undefined;
  return Uint8Array.from(text.split(':'), (octet) => parseInt(octet, 16));
}
