// Whether a frame is the guest's own: as native/bpf/redirect.c checks it, in classic BPF, which a user namespace may load, too.
import { ETH_P_ARP, ETH_P_IP, ETH_P_IPV6 } from '../frame.js';
import { parseIp, parseMac } from '../text.js';
import { type BpfInstruction, ClassicProgram } from './classic.js';

/** What the guest may send from: addresses of both families, without prefix lengths. */
export interface GuestAddresses {
  readonly mac: string;
  readonly addresses: readonly string[];
}

/** For cls_bpf: -1, a match; 0, none, which is also what the kernel says of a frame that ends before a load. */
const OWN = -1;
const NOT_OWN = 0;

// Offsets in a frame.
const [SOURCE, TYPE, NETWORK] = [6, 12, 14];
const IPV4 = { from: NETWORK + 12 };
const ARP = { lengths: NETWORK + 4, senderMac: NETWORK + 8, sender: NETWORK + 14 };
const IPV6 = { size: 40, next: NETWORK + 6, from: NETWORK + 8 };
const ICMPV6_TARGET = 8; // in a neighbour solicitation or advertisement (RFC 4861)

const [HOP_BY_HOP, ROUTING, ICMPV6, DESTINATION] = [0, 43, 58, 60];
const EXTENSIONS = [HOP_BY_HOP, ROUTING, DESTINATION];
const MOST_EXTENSIONS = 4;
const SOLICITATION = 135;
const ADVERTISEMENT = 136;
/** MLD and router solicitations: also from no address. */
const FROM_ANY = [131, 132, 133, 143];
/** Router advertisements and redirects. */
const OF_ROUTERS = [134, 137];

// Words of the program's memory.
const FROM = 0; // all bits of the IPv6 source address: 0, from none
const NEXT = 1;

/** The reasons for each rule stand in native/bpf/redirect.c. */
export function guardProgram({ mac, addresses }: GuestAddresses): readonly BpfInstruction[] {
  const program = new ClassicProgram();
  const own = addresses.map((address) => parseIp(address)!);
  const [own4, own6] = [4, 16].map((length) => own.filter((bytes) => bytes.length === length).map(wordsOf));
  const bytes = parseMac(mac)!;
  const [high, low] = [wordAt(bytes, 0), (bytes[4]! << 8) | bytes[5]!];
  const isMac = (at: number): void => {
    program.load32(at);
    program.endUnlessEqual(high, NOT_OWN);
    program.load16(at + 4);
    program.endUnlessEqual(low, NOT_OWN);
  };
  const isAddress6 = (load: (at: number) => void, at: number, then: () => void): void => {
    for (const address of own6!) {
      for (const [index, word] of address.entries()) {
        load(at + 4 * index);
        program.unlessEqual(word, 2 * (3 - index) + 1); // the words behind it, and `then`, which is one
      }
      then();
    }
    program.end(NOT_OWN);
  };

  program.loadVlanPresent();
  program.endUnlessEqual(0, NOT_OWN);
  isMac(SOURCE);
  program.load16(TYPE);
  program.gotoIfEqual(ETH_P_IP, 'ipv4');
  program.gotoIfEqual(ETH_P_ARP, 'arp');
  program.gotoIfEqual(ETH_P_IPV6, 'ipv6');
  program.end(NOT_OWN);

  const isVersion = (version: number): void => {
    program.load8(NETWORK);
    program.and(0xf0);
    program.endUnlessEqual(version << 4, NOT_OWN);
  };
  program.label('ipv4');
  isVersion(4);
  program.load32(IPV4.from);
  for (const [address] of own4!) program.endIfEqual(address!, OWN);
  program.end(NOT_OWN);

  program.label('arp');
  program.load32(NETWORK);
  program.endUnlessEqual((1 << 16) | ETH_P_IP, NOT_OWN); // Ethernet, IPv4
  program.load16(ARP.lengths);
  program.endUnlessEqual((6 << 8) | 4, NOT_OWN);
  isMac(ARP.senderMac);
  program.load32(ARP.sender);
  for (const [address] of [[0], ...own4!]) program.endIfEqual(address!, OWN);
  program.end(NOT_OWN);

  program.label('ipv6');
  isVersion(6);
  program.load32(IPV6.from);
  for (const word of [1, 2, 3]) {
    program.toX();
    program.load32(IPV6.from + 4 * word);
    program.orX();
  }
  program.store(FROM);
  program.gotoIfEqual(0, 'extensions');
  isAddress6(program.load32, IPV6.from, () => program.goto('extensions'));

  program.label('extensions');
  program.setX(NETWORK + IPV6.size);
  program.load8(IPV6.next);
  for (let index = 0; index < MOST_EXTENSIONS; index++) {
    for (const extension of EXTENSIONS) program.gotoIfEqual(extension, `extension ${index}`);
    program.goto('upper');
    program.label(`extension ${index}`);
    program.load8X(0);
    program.store(NEXT);
    program.load8X(1);
    program.add(1);
    program.shiftLeft(3);
    program.addX();
    program.toX();
    program.loadWord(NEXT);
  }
  for (const extension of EXTENSIONS) program.endIfEqual(extension, NOT_OWN);

  program.label('upper');
  const isFromSomebody = (): void => {
    program.loadWord(FROM);
    program.endIfEqual(0, NOT_OWN);
  };
  program.gotoIfEqual(ICMPV6, 'icmpv6');
  isFromSomebody();
  program.end(OWN);

  program.label('icmpv6');
  program.load8X(0);
  program.gotoIfEqual(SOLICITATION, 'solicitation');
  program.gotoIfEqual(ADVERTISEMENT, 'advertisement');
  for (const type of FROM_ANY) program.endIfEqual(type, OWN);
  for (const type of OF_ROUTERS) program.endIfEqual(type, NOT_OWN);
  isFromSomebody();
  program.end(OWN);

  program.label('solicitation');
  program.loadWord(FROM);
  program.gotoIfEqual(0, 'target');
  program.end(OWN);
  program.label('advertisement');
  isFromSomebody();
  program.label('target');
  isAddress6(program.load32X, ICMPV6_TARGET, () => program.end(OWN));
  return program.finish();
}

/** Of cls_bpf with direct action: TC_ACT_SHOT, whatever it is. */
export function dropProgram(): readonly BpfInstruction[] {
  const program = new ClassicProgram();
  program.end(2);
  return program.finish();
}

function wordsOf(address: Uint8Array): number[] {
  return Array.from({ length: address.length / 4 }, (_, index) => wordAt(address, 4 * index));
}

function wordAt(bytes: Uint8Array, at: number): number {
  return new DataView(bytes.buffer, bytes.byteOffset).getUint32(at);
}
