// YAML, as much of it as a configuration needs: every text is double quoted, so that no MAC becomes a number and no name a boolean.

export type Yaml = string | number | boolean | readonly Yaml[] | { readonly [key: string]: Yaml | undefined };

/** Block style, ASCII only. YAML 1.1 and 1.2 read it alike. */
export function yaml(value: Yaml, indent = ''): string {
  if (Array.isArray(value)) {
    const items = value as readonly Yaml[];
    return items.map((item) => `${indent}-${nested(item, `${indent}  `, true)}`).join('');
  }
  return Object.entries(value as { readonly [key: string]: Yaml | undefined })
    .filter((entry): entry is [string, Yaml] => entry[1] !== undefined)
    .map(([key, one]) => `${indent}${/^([a-z][a-z_-]{2,}|to)$/.test(key) ? key : scalar(key)}:${nested(one, `${indent}  `, false)}`)
    .join('');
}

function nested(value: Yaml, indent: string, inList: boolean): string {
  if (typeof value !== 'object') return ` ${scalar(value)}\n`;
  if ((Array.isArray(value) ? value : Object.keys(value)).length === 0) return Array.isArray(value) ? ' []\n' : ' {}\n';
  const text = yaml(value, indent);
  return inList ? ` ${text.slice(indent.length)}` : `\n${text}`; // the first key stands behind the dash
}

function scalar(value: string | number | boolean): string {
  return JSON.stringify(value).replace(/[\u007f-\uffff]/g, (letter) => `\\u${letter.charCodeAt(0).toString(16).padStart(4, '0')}`);
}
