// What is written on the interfaces that podtap makes (IFLA_IFALIAS), so that they are known again from the kernel alone.

export interface Mark {
  readonly mode: string;
  /** The pod's interface. */
  readonly link: string;
  readonly label?: string;
}

/** 'podtap bridge eth0 vm/7': no interface's name has a space. */
export function markOf({ mode, link, label }: Mark): string {
  return `podtap ${mode} ${link}${label === undefined ? '' : ` ${label}`}`;
}

/** undefined: it is none of ours. */
export function parseMark(alias: string | undefined): Mark | undefined {
  const match = /^podtap (\w+) (\S+)(?: (.+))?$/.exec(alias ?? '');
  if (match === null) return undefined;
  const [, mode = '', link = '', label] = match;
  return { mode, link, ...(label !== undefined && { label }) };
}
