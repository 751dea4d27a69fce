// What is written on the interfaces that podtap makes (IFLA_IFALIAS), so that they are known again from the kernel alone.

export interface Mark {
  readonly mode: string;
  /** The pod's interface. */
  readonly link: string;
  /** The guest's. */
  readonly mac?: string;
  readonly label?: string;
}

/** 'podtap bridge eth0 02:00:00:bb:bb:b1 vm/7': no interface's name has a space. */
export function markOf({ mode, link, mac, label }: Mark): string {
  return ['podtap', mode, link, mac, label].filter((word) => word !== undefined).join(' ');
}

/** undefined: it is none of ours. */
export function parseMark(alias: string | undefined): Mark | undefined {
  const match = /^podtap (\w+) (\S+)(?: ((?:[0-9a-f]{2}:){5}[0-9a-f]{2}))?(?: (.+))?$/.exec(alias ?? '');
  if (match === null) return undefined;
  const [, mode = '', link = '', mac, label] = match;
  return { mode, link, ...(mac !== undefined && { mac }), ...(label !== undefined && { label }) };
}

/** Of a further guest's TAP: 'podtap guest eth0 02:00:00:bb:bb:b1 web'. */
export function guestMark({ link, mac, name }: { readonly link: string; readonly mac: string; readonly name: string }): string {
  return markOf({ mode: GUEST, link, mac, label: name });
}
export const GUEST = 'guest';
