// What a guest or monitor makes of its text: each grammar read once more, by rules of its own, from the sources that the renderers cite.

export interface Read {
  readonly addresses: readonly string[];
  /** 'default via A', and other routes as 'DST via A' or 'DST'. */
  readonly routes: readonly string[];
  readonly servers?: readonly string[];
  readonly hostname?: string | undefined;
}

export function toLength(mask: string): number {
  const bits = mask.split('.').map((octet) => Number(octet).toString(2).padStart(8, '0')).join(''); // prettier-ignore
  if (!/^1*0*$/.test(bits)) throw new Error(`no mask: ${mask}`);
  return bits.indexOf('0') === -1 ? 32 : bits.indexOf('0');
}

/** Words as parse-argv (OCaml) splits them: at spaces; double quotes group, a backslash takes the next character as it is. */
export function parseArgv(text: string): string[] {
  const words: string[] = [];
  let word = '';
  let quoted = false;
  for (let at = 0; at < text.length; at++) {
    const letter = text[at]!;
    if (letter === '\\') word += text[++at] ?? '';
    else if (letter === '"') quoted = !quoted;
    else if (letter === ' ' && !quoted) {
      if (word !== '') words.push(word);
      word = '';
    } else word += letter;
  }
  if (quoted) throw new Error('unbalanced quote');
  return word === '' ? words : [...words, word];
}

export function readMirage(text: string): Read {
  const flags = new Map(parseArgv(text).map((word) => /^--([a-z0-9-]+)=(.*)$/.exec(word)!.slice(1) as [string, string]));
  const get = (...names: string[]): string[] => names.map((name) => flags.get(name)).filter((value) => value !== undefined);
  return { addresses: get('ipv4', 'ipv6'), routes: get('ipv4-gateway', 'ipv6-gateway').map((via) => `default via ${via}`) };
}

/** jsmn's tokens, without unescaping; masks as netconfig.c takes them. */
export function readRumprun(text: string): Read & { readonly entries: readonly (readonly [string, string])[] } {
  const tokens = text.slice(text.indexOf('{')).match(/[{}:,]|"[^"]*"/g)!;
  if (tokens.join('') !== text) throw new Error(`not of strings and punctuation alone: ${text}`);
  const known = ['cmdline', 'env', 'hostname', 'net', 'cwd', 'if', 'cloner', 'type', 'method', 'addr', 'mask', 'gw'];
  const entries: [string, string][] = [];
  const nets: Record<string, string>[] = [];
  for (let at = 0, inNet = false; at < tokens.length; at++) {
    if (tokens[at] === '}') inNet = false;
    if (tokens[at + 1] !== ':') continue;
    const key = tokens[at]!.slice(1, -1);
    const value = tokens[at + 2]!;
    if (!known.includes(key)) throw new Error(`unexpected key ${key}`);
    if (value === '{') {
      inNet = true;
      nets.push({});
    } else if (inNet) nets.at(-1)![key] = value.slice(1, -1);
    else entries.push([key, value.slice(1, -1)]);
  }
  if (nets.filter(({ cloner }) => cloner !== undefined).length > 1) throw new Error('made twice');
  for (const { type, mask } of nets)
    if (type === 'inet' ? Number(mask) < 1 || Number(mask) > 32 : Number(mask) % 8 !== 0) throw new Error(`EINVAL: ${mask}`);
  return {
    addresses: nets.map(({ addr, mask }) => `${addr}/${mask}`),
    routes: nets.filter(({ gw }) => gw !== undefined).map(({ gw }) => `default via ${gw}`),
    hostname: entries.find(([key]) => key === 'hostname')?.[1],
    entries,
  };
}

/** ukargparse: white space separates, both quotes group, a backslash escapes outside of quotes and a double quote inside of double ones. */
export function parseUkargs(text: string): string[] {
  const words: string[] = [];
  let word: string | undefined;
  let quote = '';
  for (let at = 0; at < text.length; at++) {
    const letter = text[at]!;
    if (quote === '' && /[ \t\r\n\v]/.test(letter)) {
      if (word !== undefined) words.push(word);
      word = undefined;
      continue;
    }
    word ??= '';
    if (quote === '' && letter === '\\') word += text[++at] ?? '';
    else if (quote === '"' && letter === '\\' && text[at + 1] === '"') word += text[++at]!;
    else if (quote === '' && (letter === '"' || letter === "'")) quote = letter;
    else if (letter === quote) quote = '';
    else word += letter;
  }
  if (quote !== '') throw new Error('unbalanced quote');
  return word === undefined ? words : [...words, word];
}

export function readUnikraft(text: string): Read & { readonly app: readonly string[] } {
  const words = parseUkargs(text);
  const end = words.indexOf('--') === -1 ? words.length : words.indexOf('--');
  const parameters = words.slice(0, end).map((word) => /^netdev\.(\w+)=(.*)$/s.exec(word)!.slice(1) as [string, string]);
  const fields = parameters.filter(([name]) => name === 'ip').map(([, value]) => value.split(':'));
  const old = (name: string): string[] => parameters.find(([one]) => one === name)?.[1].split(' ') ?? [];
  const masks = old('ipv4_subnet_mask');
  const gateways = [...fields.map(([, gw = '']) => gw), ...old('ipv4_gw_addr')];
  return {
    addresses: [...fields.map(([cidr = '']) => cidr), ...old('ipv4_addr').map((address, at) => `${address}/${toLength(masks[at]!)}`)],
    routes: gateways.filter((gw) => gw !== '').map((gw) => `default via ${gw}`),
    servers: [...fields.flatMap(([, , a = '', b = '']) => [a, b]), ...old('ipv4_dns0_addr')].filter((one) => one !== ''),
    hostname: fields[0]?.[4],
    app: words.slice(end + 1),
  };
}

/** ip_auto_config_setup() and ic_setup_routes() of net/ipv4/ipconfig.c. */
export function readKernelIp(text: string): Read {
  const [client = '', , gateway = '', mask = '', hostname, device, autoconf, ...servers] = text.replace(/^ip=/, '').split(':');
  if (autoconf !== 'off' || device === '') throw new Error('it would ask for an address');
  if (mask === '255.255.255.255' || mask === '0.0.0.0' || mask === '') throw new Error('Guessing netmask');
  const number = (address: string): number => address.split('.').reduce((sum, octet) => (sum << 8) | Number(octet), 0);
  if (gateway !== '' && ((number(gateway) ^ number(client)) & number(mask)) !== 0)
    throw new Error('Gateway not on directly connected network');
  if (servers.length > 3) throw new Error('more fields than there are');
  return { addresses: [`${client}/${toLength(mask)}`], routes: gateway === '' ? [] : [`default via ${gateway}`], servers, hostname };
}

/** parse-ip-opts.sh: fields at ':', but for what stands in brackets. */
export function readDracut(text: string): Read & { readonly mtus: readonly number[] } {
  const split = (value: string): string[] => value.match(/(?<=^|:)(\[[^\]]*\]|[^:[\]]*)(?=:|$)/g)!.map((field) => field.replace(/^\[(.*)\]$/, '$1')); // prettier-ignore
  const words = text.split(' ');
  const values = (name: string): string[] => words.filter((word) => word.startsWith(`${name}=`)).map((word) => word.slice(name.length + 1));
  const lines = values('ip').map(split);
  for (const fields of lines) if (fields.length !== 8 || fields[6] !== 'none') throw new Error(`not static: ${fields.join(' ')}`);
  const gateways = lines.map((fields) => fields[2]!).filter((gateway) => gateway !== '');
  const routes = values('rd.route').map(split);
  return {
    addresses: lines.map(([client, , , length]) => `${client}/${length}`),
    routes: [
      ...gateways.map((via) => `default via ${via}`),
      ...lines.map((fields) => fields[1]!).filter((peer) => peer !== '').map((peer) => `${peer}/${peer.includes(':') ? 128 : 32}`), // prettier-ignore
      ...routes.map(([dst = '', via = '']) => (via === '' ? dst : `${/^(0\.0\.0\.0|::)\/0$/.test(dst) ? 'default' : dst} via ${via}`)),
    ],
    servers: values('nameserver'),
    hostname: lines[0]![4] === '' ? undefined : lines[0]![4],
    mtus: lines.map((fields) => Number(fields[7])),
  };
}

/** util/keyval.c and qemu-option.c: a comma ends a value, two are one. */
export function readQemu(text: string): Record<string, string> {
  const parts = text.match(/(?:[^,]|,,)+/g)!.map((part) => part.replaceAll(',,', ','));
  return Object.fromEntries(parts.map((part, at) => (at === 0 && !/^\w+=/.test(part) ? ['', part] : [part.slice(0, part.indexOf('=')), part.slice(part.indexOf('=') + 1)]))); // prettier-ignore
}

/** option_parser: brackets and quotes protect commas; in quotes two quotes are one. */
export function readCloudHypervisor(text: string): Record<string, string> {
  const values: Record<string, string> = {};
  for (const [, key, value] of text.matchAll(/(?:^|,)(\w+)=("(?:[^"]|"")*"|\[[^\]]*\]|[^,"[\]]*)/g))
    values[key!] = value!.startsWith('"') ? value!.slice(1, -1).replaceAll('""', '"') : value!;
  return values;
}
