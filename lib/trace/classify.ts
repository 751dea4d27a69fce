// What sits on an interface and takes frames away before the stack has them: eBPF programs on tcx, filters of tc, chains of nftables.
import { type LocalhostProgramName, lookIntoLocalhost } from '../kernel/localhost-look.js';
import { findOwnName } from '../kernel/own-program.js';
import { type RedirectConfig, openRedirect } from '../kernel/redirect.js';
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
import { fromGuest } from './localhost/from-guest.js';
import { fromLink } from './localhost/from-link.js';
import { fromPod } from './localhost/from-pod.js';
import { type Ran, Run, Untold } from './localhost/run.js';
import { type Passed, passChains } from './nft.js';
import type { Place, Space } from './space.js';

export type Verdict =
  | { readonly go: 'on' }
  /** `anew`: as if it came over a wire, whoever its MAC is. */
  | { readonly go: 'redirect'; readonly ifindex: number; readonly direction: 'egress' | 'ingress'; readonly anew?: true }
  | { readonly go: 'lost'; readonly code: LossCode; readonly reason: string; readonly icmp?: string };

/** What only a program does. */
export type ClassifierVerdict =
  | Verdict
  /** To ARP's question. */
  | { readonly go: 'answer'; readonly mac: string }
  /** To an echo request: it ends here. */
  | { readonly go: 'reply' }
  /** Out by an interface, to the MAC that the host's own look-ups say. */
  | { readonly go: 'neighbor'; readonly ifindex: number };

export interface Classified extends Omit<Passed, 'verdict'> {
  readonly verdict: ClassifierVerdict;
}

const unread = { tcx: 'eBPF programs on tcx', filters: 'filters', chains: 'chains of nftables on interfaces' };
const ON: Verdict = { go: 'on' };

/** What was said while a frame was looked at, and what it has become. */
interface Log {
  readonly because: Decision[];
  readonly doubts: Undecided[];
  readonly copies: Passed['copies'][number][];
  readonly first: boolean;
  frame: Frame;
}

/** In the order of the kernel: programs on tcx, filters, chains; what goes out, chains first (__dev_queue_xmit()). */
export async function classify(
  space: Space,
  link: Link,
  direction: 'ingress' | 'egress',
  frame: Frame,
  trail: Trail,
  first: boolean,
): Promise<Classified> {
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
  const log: Log = { because: [], doubts: [], copies: [...chained.copies], first, frame: chained.frame };
  let verdict: ClassifierVerdict | undefined;
  for (const program of hooks.tcx[direction]) verdict ??= await runProgram({ space, link }, program, log);
  verdict ??= await runFilters({ space, link }, hooks.filters[direction], log);
  on = chained.trail.decide(...log.because).doubt(...log.doubts);
  const { frame: now, copies } = log;
  if (direction === 'egress' || (verdict !== undefined && verdict.go !== 'on')) return { ...chained, frame: now, copies, verdict: verdict ?? ON, trail: on }; // prettier-ignore
  const passed = await passChains(asked, now, on);
  return { ...passed, copies: [...copies, ...passed.copies] };
}

// ------------------------------------------------------------------ eBPF

/** undefined: the frame goes on. Only podtap's own programs can be asked what they do. */
async function runProgram(place: Place, program: HookProgram, log: Log): Promise<ClassifierVerdict | undefined> {
  const { space, link } = place;
  const own = await readable(findOwnName(program.id));
  if (own !== undefined && own in localhostRuns) return runLocalhost(place, { ...program, name: own }, own as LocalhostProgramName, log);
  const config = own === undefined ? undefined : await configOf(program.id, own);
  if (config === undefined) {
    log.doubts.push({ namespace: space.name, text: `here the eBPF program ${program.name ?? program.id} on ${link.name} in ${space.name} decides, which podtap does not evaluate` }); // prettier-ignore
    return undefined;
  }
  return runRedirect(place, program, config, log);
}

/** What nobody may read, or what is gone meanwhile, is undefined. */
async function readable<T>(work: Promise<T>): Promise<T | undefined> {
  return work.catch((error: unknown) => {
    if (error instanceof PodtapError || error instanceof UnsupportedError) return undefined;
    throw error;
  });
}

const localhostRuns: Readonly<Record<LocalhostProgramName, (run: Run) => Promise<Ran>>> = {
  podtap_lh_tap: fromGuest,
  podtap_lh_link: fromLink,
  podtap_lh_lo: fromPod,
};

async function runLocalhost(
  place: Place,
  program: HookProgram,
  name: LocalhostProgramName,
  log: Log,
): Promise<ClassifierVerdict | undefined> {
  const undecided = (what: string): void => void log.doubts.push({ namespace: place.space.name, text: `here podtap's eBPF program ${name} on ${place.link.name} in ${place.space.name} decides, by ${what}` }); // prettier-ignore
  await using look = await readable(lookIntoLocalhost(program.id));
  if (look === undefined) return void undecided('maps that could not be read');
  const config = await look.config();
  // It was loaded, and not told anything yet.
  if (config.link === 0) return undefined;
  const run = new Run(place, program, look, config, log.frame, log.first);
  try {
    const verdict = await localhostRuns[name](run);
    if (verdict?.go !== 'lost') log.because.push(...run.decisions());
    log.copies.push(...run.copies);
    log.frame = run.frame;
    return verdict;
  } catch (error) {
    if (!(error instanceof Untold)) throw error;
    return void undecided(error.message);
  }
}

async function runRedirect(
  { space, link: on }: Place,
  program: HookProgram,
  config: RedirectConfig,
  { because, frame }: Log,
): Promise<Verdict | undefined> {
  const name = program.name ?? `program ${program.id}`;
  const where = `${on.name} in ${space.name}`;
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

async function configOf(id: number, name: string): Promise<RedirectConfig | undefined> {
  return readable(
    (async () => {
      await using opened = await openRedirect(id);
      return name === 'podtap_to_guest' ? await opened?.targets() : await opened?.configuration();
    })(),
  );
}

// ------------------------------------------------------------------ tc

const protocols: Readonly<Record<string, number>> = { ip: ETH_P_IP, ipv6: ETH_P_IPV6, arp: ETH_P_ARP };

async function runFilters(place: Place, filters: readonly Filter[], log: Log): Promise<ClassifierVerdict | undefined> {
  const { space, link } = place;
  for (const filter of filters) {
    const { frame } = log;
    if (filter.protocol !== 'all' && (protocols[filter.protocol] ?? Number(filter.protocol)) !== frame.type) continue;
    const name = `filter ${filter.kind} (prio ${filter.priority}) on ${link.name} in ${space.name}`;
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
      const verdict = id === undefined ? undefined : await runProgram(place, { id, name: program?.replace(/^.*[/:]/, '') ?? '' }, log); // prettier-ignore
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
