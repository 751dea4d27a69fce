// The 32-bit handles of traffic control (uapi/linux/pkt_sched.h), as tc(8) writes them: 'major:minor' in hexadecimal.
//
//   '1:'        a qdisc            'ffff:'      an ingress or clsact qdisc, as the parent of its filters
//   '1:10'      a class            'ffff:fff1'  where those two qdiscs hang: TC_H_INGRESS, TC_H_CLSACT
//   'root'      0xffffffff         'ffff:fff2'  clsact's ingress (of an ingress qdisc too)
//   'none'      0                  'ffff:fff3'  clsact's egress

const WORDS: Readonly<Record<string, number>> = { root: 0xffffffff, none: 0, ingress: 0xfffffff1, clsact: 0xfffffff1 };

export function formatHandle(handle: number): string {
  if (handle === 0xffffffff) return 'root';
  if (handle === 0) return 'none';
  const major = handle >>> 16;
  const minor = handle & 0xffff;
  return `${major === 0 ? '' : major.toString(16)}:${minor === 0 ? '' : minor.toString(16)}`;
}

/** 'ingress' and 'clsact' are where these qdiscs hang. Throws TypeError where the text is no handle. */
export function parseHandle(text: string): number {
  if (Object.hasOwn(WORDS, text)) return WORDS[text]!;
  const match = /^([0-9a-f]{0,4}):([0-9a-f]{0,4})$/i.exec(text);
  if (match === null) throw new TypeError(`not a handle: '${text}'`);
  return ((parseInt(match[1] || '0', 16) << 16) | parseInt(match[2] || '0', 16)) >>> 0;
}

/**
 * What a filter hangs on: 'ingress' and 'egress' are those of clsact, as for `tc filter add dev eth0 ingress`. 'root' is the root qdisc,
 * whatever its handle: for filters the kernel calls it 0, and takes TC_H_ROOT for another hook of ffff:.
 */
export function parseFilterParent(text: string): number {
  return text === 'ingress' ? 0xfffffff2 : text === 'egress' ? 0xfffffff3 : text === 'root' ? 0 : parseHandle(text);
}
export function formatFilterParent(handle: number): string {
  return handle === 0 ? 'root' : handle === 0xffffffff ? 'ffff:ffff' : formatHandle(handle);
}

/** A handle of u32: 'table:hash:node' in hexadecimal, '800::800' for the first filter, '800:' for the table itself. */
export function formatU32Handle(handle: number): string {
  const [table, hash, node] = [handle >>> 20, (handle >>> 12) & 0xff, handle & 0xfff];
  return `${table.toString(16)}:${hash === 0 ? '' : hash.toString(16)}${node === 0 ? '' : `:${node.toString(16)}`}`;
}

export function parseU32Handle(text: string): number {
  const match = /^([0-9a-f]{0,3}):([0-9a-f]{0,2})(?::([0-9a-f]{0,3}))?$/i.exec(text);
  if (match === null) throw new TypeError(`not a handle of u32: '${text}'`);
  return ((parseInt(match[1] || '0', 16) << 20) | (parseInt(match[2] || '0', 16) << 12) | parseInt(match[3] || '0', 16)) >>> 0;
}
