// A topology as a tree of text, as Mermaid, and as DOT.
import { splitCidr } from '../check.js';
import { type Box, type DrawOptions, type Line, type Picture, pictureOf } from './picture.js';
import { type Topology, type TopologyDevice, type TopologyEnd, isSame } from './read.js';

/** Namespaces, their devices, ports below their bridge; behind each what joins it to others. */
export function tree(topology: Topology): string {
  return topology.namespaces.map(({ name, devices }) => [name, ...branches(topology, name, devices)].join('\n')).join('\n');
}

function branches(topology: Topology, namespace: string, devices: readonly TopologyDevice[]): string[] {
  const shown = devices.filter((device) => device.kind !== 'loopback' || device.addresses.some((address) => !isOwn(address)));
  const tops = shown.filter(({ master }) => master === undefined || !shown.some(({ name }) => name === master));
  return tops.flatMap((device, index) => branch(topology, namespace, shown, device, '', index === tops.length - 1));
}

function branch(
  topology: Topology,
  namespace: string,
  devices: readonly TopologyDevice[],
  device: TopologyDevice,
  indent: string,
  last: boolean,
): string[] {
  // prettier-ignore
  const ports = devices.filter(({ master }) => master === device.name);
  const line = `${indent}${last ? '└─ ' : '├─ '}${describe(topology, { namespace, device: device.name }, device)}`;
  const deeper = `${indent}${last ? '   ' : '│  '}`;
  return [line, ...ports.flatMap((port, index) => branch(topology, namespace, devices, port, deeper, index === ports.length - 1))];
}

function describe(topology: Topology, end: TopologyEnd, device: TopologyDevice): string {
  const { name, kind, mac, addresses, up, carrier, holders, vni, programs = [] } = device;
  const words = [
    kind === 'tun' ? 'TAP' : vni === undefined ? kind : `vxlan ${vni}`,
    ...(mac === '' ? [] : [mac]),
    ...addresses.filter((address) => !isOwn(address)),
    ...(up ? (carrier ? [] : ['no carrier']) : ['down']),
    ...joints(topology, end),
    ...(holders ?? []).map(({ command, pid }) => `held by ${command} (${pid})`),
    ...programs.map((program) => `eBPF ${program}`),
    ...topology.guests.filter(({ at }) => isSame(at, end)).map((guest) => `guest ${guest.name}: ${[guest.mac, ...guest.addresses].join(', ')}`), // prettier-ignore
  ];
  return `${name}  ${words.join(', ')}`;
}

function joints({ edges }: Topology, end: TopologyEnd): string[] {
  const name = (to: TopologyEnd): string => `${to.device}${to.namespace === end.namespace ? '' : ` in ${to.namespace}`}`;
  return edges.flatMap((edge) => {
    const { from, to } = edge;
    if (edge.kind === 'veth' && isSame(from, end)) return [to === undefined ? 'wire to elsewhere' : `wire to ${name(to)}`];
    if (edge.kind === 'veth') return to !== undefined && isSame(to, end) ? [`wire to ${name(from)}`] : [];
    if (edge.kind === 'overlay' && to !== undefined && isSame(to, end)) return [`overlay to ${name(from)}`];
    if (!isSame(from, end)) return [];
    if (edge.kind === 'overlay') return [`overlay to ${to === undefined ? '' : `${name(to)}, `}${edge.remote}`];
    if (edge.kind === 'redirect') return [`${edge.by === 'program' ? 'eBPF' : 'tc'} redirects to ${to === undefined ? 'what is gone' : name(to)}`]; // prettier-ignore
    return [`on ${to === undefined ? 'one elsewhere' : name(to)}`];
  });
}

/** Loopback's, and those that the kernel makes by itself. */
function isOwn(address: string): boolean {
  const { address: host } = splitCidr(address);
  return host === '127.0.0.1' || host === '::1' || host.startsWith('fe80:');
}

// ------------------------------------------------------------------ Mermaid

/** A flowchart: https://mermaid.js.org/syntax/flowchart.html. GitHub draws it from a code block of the kind `mermaid`. */
export function mermaid(topology: Topology, options: DrawOptions = {}): string {
  const { title, groups, lines } = pictureOf(topology, options);
  const out = [...(title === undefined ? [] : ['---', `title: ${JSON.stringify(title)}`, '---']), 'flowchart LR'];
  const quote = (text: string): string => `"${text.replaceAll('&', '&amp;').replaceAll('"', '&quot;').replaceAll('<', '&lt;')}"`;
  for (const { id, name, boxes } of groups) {
    out.push(`  subgraph ${id}[${quote(name)}]`);
    for (const box of boxes) {
      const [open, close] = { guest: ['([', '])'], bridge: ['[/', '\\]'], tap: ['[[', ']]'], overlay: ['{{', '}}'], device: ['[', ']'] }[box.look]; // prettier-ignore
      out.push(`    ${box.id}${open}${quote(box.lines.join('\n')).replaceAll('\n', '<br/>')}${close}`);
    }
    out.push('  end');
  }
  const arrows: Readonly<Record<Line['look'], string>> = { wire: '---', port: '-.-', 'stands on': '-.->', redirect: '-->', overlay: '<-.->', path: '==>' }; // prettier-ignore
  for (const { from, to, look, label, steps } of lines) {
    const text = [label, steps?.numbers.join(', ')].filter((one) => one !== undefined).join(': ');
    const [a, b] = steps?.way === 'back' ? [to, from] : [from, to];
    const arrow = steps === undefined ? arrows[look] : steps.way === 'both' ? '<==>' : '==>';
    out.push(`  ${a} ${arrow}${text === '' ? '' : `|${quote(text)}|`} ${b}`);
  }
  for (const { boxes } of groups) for (const { id, path } of boxes) if (path !== undefined) out.push(`  style ${id} stroke:${path === 'lost' ? '#c00' : '#06c'},stroke-width:3px`); // prettier-ignore
  return `${out.join('\n')}\n`;
}

// ------------------------------------------------------------------ DOT

const fills: Readonly<Record<Box['look'], string>> = {
  device: '#ffffff',
  bridge: '#e8f0fe',
  tap: '#fff4ce',
  overlay: '#eadcf4',
  guest: '#dff2d8',
};
const edges: Readonly<Record<Line['look'], string>> = {
  wire: 'dir=none,penwidth=1.5',
  port: 'dir=none,style=dashed,color="#5f6b7a"',
  'stands on': 'style=dashed,color="#5f6b7a"',
  redirect: 'color="#b06000",fontcolor="#b06000",penwidth=1.5',
  overlay: 'dir=both,style=dotted,color="#7b3fa0",fontcolor="#7b3fa0",penwidth=2,constraint=false',
  path: '',
};

/** For Graphviz: https://graphviz.org/doc/info/lang.html. Several stand side by side. */
export function dot(pictures: readonly { readonly topology: Topology; readonly options?: DrawOptions }[]): string {
  const several = pictures.length > 1;
  const out = [
    'digraph {',
    `  graph [rankdir=${several ? 'TB' : 'LR'}, fontname="Helvetica", fontsize=13, compound=true, nodesep=0.25, ranksep=0.55, bgcolor=white];`,
    // Of these two by their plain names Graphviz knows how wide the letters are; of a list of names it does not, and text runs out of its box.
    '  node [shape=box, style="rounded,filled", fontname="Courier", fontsize=10.5, margin="0.12,0.08"];',
    '  edge [fontname="Helvetica", fontsize=10];',
  ];
  pictures.forEach(({ topology, options }, index) => {
    const prefix = several ? `p${index}` : '';
    const picture = pictureOf(topology, options, prefix);
    if (several)
      out.push(`  subgraph cluster_${prefix} { label=${quote(picture.title ?? '')}; labelloc=t; fontsize=16; pencolor=none; margin=16;`);
    else if (picture.title !== undefined) out.push(`  label=${quote(picture.title)}; labelloc=t; fontsize=16;`);
    out.push(...dotBody(picture));
    if (several) out.push('  }');
  });
  out.push('}');
  return `${out.join('\n')}\n`;
}

function dotBody({ groups, lines }: Picture): string[] {
  const out: string[] = [];
  for (const { id, name, boxes } of groups) {
    out.push(`  subgraph cluster_${id} { label=${quote(name)}; labeljust=l; style="rounded,filled"; fillcolor="#f6f8fa"; pencolor="#c9d1d9"; margin=12; fontsize=13;`); // prettier-ignore
    for (const { id: box, lines: text, look, down, path } of boxes) {
      const border = path === 'lost' ? 'color="#c5221f",penwidth=3' : path === 'on' ? 'color="#c5221f",penwidth=1.5' : 'color="#5f6b7a"';
      const [first = '', ...rest] = text;
      const label = `<<b>${escape(first)}</b>${rest.map((line) => `<br/>${escape(line)}`).join('')}${path === 'lost' ? '<br/><font color="#c5221f"><b>lost here</b></font>' : ''}>`; // prettier-ignore
      out.push(`    ${box} [label=${label}, fillcolor="${fills[look]}", ${border}${down ? ', fontcolor="#9aa0a6"' : ''}];`);
    }
    out.push('  }');
  }
  for (const { from, to, look, label, steps } of lines) {
    const text = [label, steps?.numbers.join(', ')].filter((one) => one !== undefined).join(': ');
    const beside = text === '' ? '' : `,label=${quote(` ${text} `)}`; // not on the line
    // The later one of two settings counts.
    const on = steps === undefined ? '' : `,color="#c5221f",fontcolor="#c5221f",penwidth=2.5,style=solid,dir=${steps.way}`;
    out.push(`  ${from} -> ${to} [${edges[look]}${on}${beside}];`.replace('[,', '['));
  }
  return out;
}

function quote(text: string): string {
  return `"${text.replaceAll('\\', '\\\\').replaceAll('"', '\\"')}"`;
}

/** In labels like HTML's. */
function escape(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}
