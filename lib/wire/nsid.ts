// RTM_GETNSID: by which number one namespace knows another. struct rtgenmsg and NETNSA_* of uapi/linux/net_namespace.h.
import { s32, table, u16, u32, u8 } from './attribute.js';
import type { Bytes } from './bytes.js';
import { type Message, decodeAttributes, encodeMessage, messageFamily } from './message.js';

export const RTM_NEWNSID = 88;
export const RTM_GETNSID = 90;

export const nsidFamily = messageFamily(
  [
    ['family', u8],
    ['pad1', u8],
    ['pad2', u16],
  ],
  table('NETNSA', { nsid: [1, s32], pid: [2, u32], fd: [3, u32], target_nsid: [4, s32], current_nsid: [5, s32] }),
);

/** Of the namespace that a descriptor of this process stands for. */
export function encodeNsidGet(fd: number): Uint8Array {
  return encodeMessage(nsidFamily, RTM_GETNSID, 0, {}, { fd });
}

/** undefined: it has none there. */
export function decodeNsid(from: Bytes, message: Message): number | undefined {
  const { nsid } = decodeAttributes(nsidFamily, from, message);
  return nsid === undefined || nsid < 0 ? undefined : nsid;
}
