// What sits on an interface and takes frames away before the stack has them: eBPF programs on tcx, filters of tc, chains of nftables.
import { localhostPrograms } from '../kernel/localhost.js';
import { openRedirect } from '../kernel/redirect.js';
import { PodtapError, UnsupportedError } from '../errors.js';
import type { HookProgram } from '../kernel/hooks.js';
import { decodeInstructions, runClassic } from '../wire/bpf/classic.js';
import type { Frame } from '../wire/frame.js';
import { ETH_P_ARP, ETH_P_IP, ETH_P_IPV6, encodeFrame } from '../wire/frame.js';
import type { U32Options, U32Selector } from '../wire/filter/u32.js';
import type { BpfOptions } from '../wire/filter/bpf.js';
import type { Action } from '../wire/action.js';
import type { MirredOptions } from '../wire/action/mirred.js';
import type { Link } from '../wire/link.js';
import type { Filter } from '../wire/tc.js';
import type { Decision, LossCode, Trail, Undecided } from './hop.js';
import { type Passed, passChains } from './nft.js';
import type { Space } from './space.js';

export type Verdict =
  | { readonly go: 'on' }
  | { readonly go: 'redirect'; readonly ifindex: number; readonly direction: 'egress' | 'ingress' }
  | { readonly go: 'lost'; readonly code: LossCode; readonly reason: string; readonly icmp?: string };

const unread = { tcx: 'eBPF programs on tcx', filters: 'filters', chains: 'chains of nftables on interfaces' };
const ON: Verdict = { go: 'on' };

/** What was said while a frame was looked at. */
interface Log {
  readonly because: Decision[];
  readonly doubts: Undecided[];
}

/** In the order of the kernel: programs on tcx, filters, chains; what goes out, chains first (__dev_queue_xmit()). */
export async function classify(
  space: Space,
  link: Link,
  direction: 'ingress' | 'egress',
  frame: Frame,
  trail: Trail,
  first: boolean,
): Promise<Passed> {
  // prettier-ignore
  const hooks = await space.hooks(link);
  const where = `${link.name} in ${space.name}`;
  let on = trail.note(...hooks.unread.filter(({ what }) => what !== 'chains').map(({ what, reason }) => `${unread[what]} could not be looked for, and were taken to be none: ${reason}`)); // prettier-ignore
  if (direction === 'ingress' && hooks.xdp !== undefined)
    on = on.doubt({ namespace: space.name, text: `here the XDP program ${hooks.xdp.program.name ?? hooks.xdp.program.id} on ${where} decides, which podtap does not evaluate` }); // prettier-ignore
  const asked = { space, families: ['netdev', 'inet'] as const, hook: direction, device: link, first, ...(direction === 'ingress' ? { iif: link } : { oif: link }) }; // prettier-ignore
  const chained =
    direction === 'egress' ? await passChains(asked, frame, on) : { verdict: ON, frame, trail: on, copies: [], reroute: false };
  if (chained.verdict.go !== 'on') return chained;
  const log: Log = { because: [], doubts: [] };
  let verdict: Verdict | undefined;
  for (const program of hooks.tcx[direction]) verdict ??= await runProgram(space, program, chained.frame, where, log);
  verdict ??= await runFilters(space, hooks.filters[direction], chained.frame, where, log);
  on = chained.trail.decide(...log.because).doubt(...log.doubts);
  if (direction === 'egress' || (verdict !== undefined && verdict.go !== 'on')) return { ...chained, verdict: verdict ?? ON, trail: on };
  return passChains(asked, frame, on);
}

// ------------------------------------------------------------------ eBPF

/** undefined: the frame goes on. Only podtap's own programs can be asked what they do. */
async function runProgram(
  space: Space,
  program: HookProgram,
  frame: Frame,
  where: string,
  { because, doubts }: Log,
): Promise<Verdict | undefined> {
  // prettier-ignore
  const name = program.name ?? `program ${program.id}`;
  if (Object.values<string>(localhostPrograms).includes(name)) {
    doubts.push({ namespace: space.name, text: `here podtap's eBPF program ${name} on ${where} takes what is for the pod's localhost, or another guest's, which the trace does not evaluate` }); // prettier-ignore
    return undefined;
  }
  const config = await configOf(program);
  if (config === undefined) {
    doubts.push({ namespace: space.name, text: `here the eBPF program ${name} on ${where} decides, which podtap does not evaluate` });
    return undefined;
  }
  const say = (text: string): void => void because.push({ by: 'program', program, text: `eBPF program ${name} on ${where}: ${text}` });
  if (program.name === 'podtap_to_guest') {
    const tap = await space.link(config.tap);
    if (config.tap === 0 || tap === undefined || (config.fallBackIfDown === true && !(tap.up && tap.carrier))) {
      say(`${config.tap === 0 ? 'paused' : `its TAP ${tap === undefined ? 'is gone' : `${tap.name} is held by nobody`}`}: the frame goes to the pod`); // prettier-ignore
      return undefined;
    }
    say(`redirects to ${tap.name}`);
    return { go: 'redirect', ifindex: config.tap, direction: 'egress' };
  }
  const { source } = config;
  const sender = frame.packet?.source ?? frame.arp?.sender.address;
  if (source !== undefined && (frame.source !== source.mac || (sender !== undefined && !source.addresses.includes(sender))))
    return { go: 'lost', code: 'SPOOFED', reason: `the eBPF program ${name} on ${where} lets the guest send from ${source.mac} and ${source.addresses.join(', ')} only, not from ${frame.source}, ${sender}` }; // prettier-ignore
  const link = await space.link(config.link);
  if (config.link === 0 || link === undefined)
    return { go: 'lost', code: 'REDIRECT_GONE', reason: `the eBPF program ${name} on ${where} redirects to ${config.link === 0 ? 'nowhere: it is paused' : `interface ${config.link}, which is gone`}` }; // prettier-ignore
  say(`redirects to ${link.name}`);
  return { go: 'redirect', ifindex: config.link, direction: 'egress' };
}

async function configOf(
  program: HookProgram,
): Promise<Awaited<ReturnType<NonNullable<Awaited<ReturnType<typeof openRedirect>>>['configuration']>> | undefined> {
  if (program.name === undefined) return undefined;
  try {
    await using opened = await openRedirect(program.id);
    return program.name === 'podtap_to_guest' ? await opened?.targets() : await opened?.configuration();
  } catch (error) {
    if (error instanceof PodtapError || error instanceof UnsupportedError) return undefined;
    throw error;
  }
}

// ------------------------------------------------------------------ tc

const protocols: Readonly<Record<string, number>> = { ip: ETH_P_IP, ipv6: ETH_P_IPV6, arp: ETH_P_ARP };

async function runFilters(space: Space, filters: readonly Filter[], frame: Frame, where: string, log: Log): Promise<Verdict | undefined> {
  // prettier-ignore
  for (const filter of filters) {
    if (filter.protocol !== 'all' && (protocols[filter.protocol] ?? Number(filter.protocol)) !== frame.type) continue;
    const name = `filter ${filter.kind} (prio ${filter.priority}) on ${where}`;
    if (filter.kind === 'bpf' && (filter.options as BpfOptions).directAction === true) {
      const { id, name: program, operations } = filter.options as BpfOptions;
      if (operations !== undefined) {
        const control = runOn(operations, frame);
        if (control === undefined) log.doubts.push({ namespace: space.name, text: `here the ${name} decides, whose program asks for more than the trace knows of the frame` }); // prettier-ignore
        if (control === SHOT || control === STOLEN) return { go: 'lost', code: 'FILTERED', reason: `${name} drops it` };
        if (control === OK) return ON;
        continue;
      }
      // The kernel gives the name of the program's file and section, podtap's own is its function's.
      const verdict = id === undefined ? undefined : await runProgram(space, { id, name: program?.replace(/^.*[/:]/, '') ?? '' }, frame, where, log); // prettier-ignore
      if (verdict !== undefined) return verdict;
      continue;
    }
    const matched = matches(filter, frame);
    if (matched === 'unknown') log.doubts.push({ namespace: space.name, text: `here the ${name} decides, whose matches podtap does not evaluate` }); // prettier-ignore
    if (matched !== true) continue;
    const verdict = await act(space, filter, name, log);
    if (verdict === 'next filter') continue;
    return verdict;
  }
  return undefined;
}

function matches(filter: Filter, frame: Frame): boolean | 'unknown' {
  if ((filter.chain ?? 0) !== 0) return false;
  if (filter.options instanceof Uint8Array) return 'unknown';
  if (filter.kind === 'matchall') return true;
  if (filter.kind === 'bpf') {
    const { operations } = filter.options as BpfOptions;
    const result = operations === undefined ? undefined : runOn(operations, frame);
    return result === undefined ? 'unknown' : result !== 0;
  }
  if (filter.kind !== 'u32') return 'unknown';
  const { selector, divisor, link, mark, indev } = filter.options as U32Options;
  if (selector === undefined || divisor !== undefined) return false; // a table
  if (link !== undefined || mark !== undefined || indev !== undefined) return 'unknown';
  // What stands in other tables is asked through a link only.
  if (parseInt(filter.handle ?? '800', 16) < 0x800) return false;
  return selector.flags?.includes('terminal') === true && matchesU32(selector, frame);
}

/** TC_ACT_*: what else a program says is no verdict (cls_bpf_exec_opcode()). */
const [OK, SHOT, STOLEN] = [0, 2, 4];

/** A classic program, over the frame as the kernel has it: what came in with a VLAN's tag has it beside. */
function runOn(operations: Uint8Array, { vlans = [], ...frame }: Frame): number | undefined {
  const inner = vlans.slice(1);
  return runClassic(decodeInstructions(operations), encodeFrame({ ...frame, ...(inner.length > 0 && { vlans: inner }) }), { vlan: vlans.length > 0 }); // prettier-ignore
}

const ETHERNET = 14;

/** Offsets count from the IP header; what is behind the end of the packet never matches. */
function matchesU32({ keys }: U32Selector, frame: Frame): boolean {
  const bytes = encodeFrame(frame);
  const view = new DataView(bytes.buffer);
  const network = ETHERNET + 4 * (frame.vlans?.length ?? 0);
  return keys.every(({ mask, value, offset }) => {
    if (mask === 0 && value === 0) return true;
    const at = network + offset;
    return at >= 0 && at + 4 <= bytes.length && ((view.getUint32(at) ^ value) & mask) === 0;
  });
}

/** Actions that change nothing of a way. */
const idle: readonly string[] = ['gact', 'skbedit', 'csum'];

/** What the actions make of the frame; without any a match ends the search, and it goes on. */
async function act(space: Space, filter: Filter, name: string, { because, doubts }: Log): Promise<Verdict | undefined | 'next filter'> {
  // prettier-ignore
  const say = (text: string): void => void because.push({ by: 'filter', filter, text: `${name} ${text}` });
  for (const action of filter.actions ?? []) {
    if (action.kind === 'mirred' && !(action.options instanceof Uint8Array) && action.options !== undefined) {
      const { action: way, direction, dev } = action.options as MirredOptions;
      if (way === 'redirect') {
        const target = await space.link(dev);
        if (dev === 0 || target === undefined)
          return { go: 'lost', code: 'REDIRECT_GONE', reason: `${name} redirects to an interface that is gone, and drops all that it matches until it is deleted` }; // prettier-ignore
        say(`redirects to ${target.name}`);
        return { go: 'redirect', ifindex: dev, direction };
      }
      say(`copies to ${(await space.link(dev))?.name ?? 'an interface that is gone'}`);
    } else if (!idle.includes(action.kind)) doubts.push({ namespace: space.name, text: `here the ${name} decides, by the action ${action.kind}, which podtap does not evaluate` }); // prettier-ignore
    const ended = controlOf(action, name);
    if (ended !== 'next action') return ended;
  }
  say('matches and ends the search');
  return ON;
}

function controlOf({ control = 'pipe' }: Action, name: string): Verdict | undefined | 'next filter' | 'next action' {
  if (control === 'pipe') return 'next action';
  if (control === 'continue' || control === 'unspec') return 'next filter';
  if (control === 'drop' || control === 'shot' || control === 'stolen' || control === 'trap')
    return { go: 'lost', code: 'FILTERED', reason: `${name} drops it` };
  return ON;
}
