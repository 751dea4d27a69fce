// What the chains of nftables on a hook make of a packet: as nf_tables_core.c and nft_*.c of net/netfilter/ have it.
import type { NftRule } from '../kernel/nft.js';
import type { Frame } from '../wire/frame.js';
import type { Link } from '../wire/link.js';
import type { NftFamily } from '../wire/nft/numbers.js';
import { changesOf } from './changes.js';
import type { Verdict } from './classify.js';
import type { Beside, Decision, Trail, Undecided } from './hop.js';
import { Established } from './nft/established.js';
import { Image } from './nft/image.js';
import { Registers } from './nft/registers.js';
import { type Base, priorityOf } from './nft/ruleset.js';
import type { Space } from './space.js';
import { type Step, type Stepped, matters, step } from './nft/step.js';

/** Where packets are asked about. */
export interface Asked {
  readonly space: Space;
  readonly families: readonly NftFamily[];
  readonly hook: string;
  readonly iif?: Link;
  readonly oif?: Link;
  /** Of ingress and egress: chains on this interface. */
  readonly device?: Link;
  /** The first packet of its connection. */
  readonly first: boolean;
}

export interface Passed {
  readonly verdict: Verdict;
  readonly frame: Frame;
  readonly trail: Trail;
  /** Interfaces that a copy goes out by. */
  readonly copies: readonly { readonly ifindex: number; readonly frame: Frame }[];
  /** Sent from here, it was changed in a way that asks for a new look-up of its route. */
  readonly reroute: boolean;
}

/** Connection tracking has seen what comes behind it. NF_IP_PRI_CONNTRACK. */
const CONNTRACK = -200;
/** NF_IP_PRI_NAT_DST, NF_IP_PRI_NAT_SRC. */
const NAT_PRIORITY = { destination: -100, source: 100 };
const NAT: Readonly<Record<string, 'source' | 'destination'>> = { prerouting: 'destination', output: 'destination', input: 'source', postrouting: 'source' }; // prettier-ignore

export async function passChains(asked: Asked, frame: Frame, trail: Trail): Promise<Passed> {
  const { space, hook, families } = asked;
  const bases = (await space.ruleset.bases()).filter((base) => families.includes(base.family) && base.hook.name === hook && isOn(base, asked.device)); // prettier-ignore
  let on = space.ruleset.unread === undefined ? trail : trail.note(`chains of nftables in ${space.name} could not be looked for, and were taken to be none: ${space.ruleset.unread}`); // prettier-ignore
  const stack = ['ip', 'ip6', 'inet'].some((family) => families.includes(family as NftFamily)) && asked.device === undefined;
  const manip = stack ? NAT[hook] : undefined;
  const settled = manip !== undefined && on.beside.natted?.[manip] !== undefined;
  const known = manip === undefined || settled || asked.first ? undefined : new Established(asked, manip);
  let now = frame;
  const copies: Passed['copies'][number][] = [];
  let [mapped, translated, reroute] = [false, false, false];
  const translate = async (): Promise<void> => {
    if (known === undefined || known.done) return;
    on = tracked(on, now);
    const after = await known.translate(now, on);
    translated = after.frame !== now;
    reroute ||= hook === 'output' && translated;
    [now, on] = [after.frame, after.trail];
  };
  for (const base of bases) {
    if (stack && priorityOf(base) > CONNTRACK) on = tracked(on, now);
    if (manip !== undefined && priorityOf(base) >= NAT_PRIORITY[manip]) await translate();
    if (base.type === 'nat' && (!asked.first || settled || mapped || manip === undefined || on.beside.untracked === true)) continue;
    const evaluation = new Evaluation(asked, base, now, on.beside);
    const end = await evaluation.run();
    reroute ||= hook === 'output' && ((base.type === 'nat' && evaluation.translated) || (base.type === 'route' && (evaluation.frame !== now || evaluation.beside.mark !== on.beside.mark))); // prettier-ignore
    now = evaluation.frame;
    mapped ||= base.type === 'nat' && evaluation.mapped;
    translated ||= evaluation.translated;
    copies.push(...evaluation.copies);
    on = on.decide(...evaluation.because).doubt(...evaluation.doubts).carry(evaluation.beside); // prettier-ignore
    if (end.go !== 'on') return { verdict: end, frame: now, trail: on, copies, reroute };
  }
  await translate();
  if (manip !== undefined && !settled) on = on.carry({ ...on.beside, natted: { ...on.beside.natted, [manip]: translated } });
  return { verdict: { go: 'on' }, frame: now, trail: on, copies, reroute };
}

function tracked(trail: Trail, { packet }: Frame): Trail {
  const { beside } = trail;
  return beside.original !== undefined || beside.untracked === true || packet === undefined ? trail : trail.carry({ ...beside, original: packet }); // prettier-ignore
}

function isOn({ hook: { devices } }: Base, device: Link | undefined): boolean {
  if (device === undefined) return devices === undefined;
  return devices?.some((name) => (name.endsWith('*') ? device.name.startsWith(name.slice(0, -1)) : name === device.name)) === true;
}

function nameOf({ family, table, name, hook }: Base, { space, device }: Asked): string {
  return `chain ${family} ${table} ${name} (${hook.name}${device === undefined ? '' : ` of ${device.name}`}) in ${space.name}`;
}

type End =
  | { readonly by: 'end' }
  | { readonly by: 'accept' | 'drop' | 'reject' | 'redirect'; readonly rule: NftRule; readonly ifindex?: number; readonly icmp?: string };

/** Of one base chain, and of those that it jumps to. */
class Evaluation {
  readonly registers = new Registers();
  readonly because: Decision[] = [];
  readonly doubts: Undecided[] = [];
  readonly copies: Passed['copies'][number][] = [];
  readonly image: Image;
  beside: Beside;
  /** NAT has decided; translated: on another address or port. */
  mapped = false;
  translated = false;
  readonly #name: string;

  constructor(
    readonly asked: Asked,
    readonly base: Base,
    readonly before: Frame,
    beside: Beside,
  ) {
    this.image = new Image(before, asked.first);
    this.beside = beside;
    this.#name = nameOf(base, asked);
  }

  get frame(): Frame {
    return this.image.result();
  }

  /** Whether connection tracking has seen it by then. */
  get tracked(): boolean {
    return this.asked.device === undefined && this.base.family !== 'bridge' && priorityOf(this.base) > CONNTRACK && this.beside.untracked !== true; // prettier-ignore
  }

  async run(): Promise<Verdict> {
    const end = await this.#chain(this.base.name);
    if (end.by === 'end') {
      if (this.base.policy === 'drop') return this.#lost(`drops it, by its policy`);
      if ((this.base.use ?? 0) > 0) this.say('accepts it, at its end');
      return { go: 'on' };
    }
    const at = handle(end.rule);
    if (end.by === 'redirect') {
      this.say(`sends it out by ${(await this.asked.space.link(end.ifindex!))?.name ?? `interface ${end.ifindex}`}, ${at}`, end.rule);
      return { go: 'redirect', ifindex: end.ifindex!, direction: 'egress' };
    }
    if (end.by !== 'accept') return this.#lost(`${end.by}s it, ${at}`, end.icmp);
    if (!this.translated) this.say(`accepts it, ${at}`, end.rule);
    return { go: 'on' };
  }

  say(text: string, rule?: NftRule): void {
    this.because.push({ by: 'chain', chain: this.base, ...(rule !== undefined && { rule }), text: `${this.#name} ${text}` });
  }

  doubt(rule: NftRule, why: string): void {
    this.doubts.push({ namespace: this.asked.space.name, text: `here ${this.#name} decides, ${handle(rule)}, by ${why}, which podtap does not evaluate` }); // prettier-ignore
  }

  #lost(how: string, icmp?: string): Verdict {
    return { go: 'lost', code: 'FILTERED', reason: `${this.#name} ${how}`, ...(icmp !== undefined && { icmp }) };
  }

  async #chain(name: string): Promise<End> {
    for (const rule of await this.asked.space.ruleset.rules(this.base, name)) {
      const verdict = await this.#rule(rule);
      if (verdict === undefined || verdict.code === 'continue' || verdict.code === 'break') continue;
      switch (verdict.code) {
        case 'accept':
        case 'drop':
        case 'reject':
        case 'redirect':
          return { by: verdict.code, rule, ...verdict };
        case 'jump':
        case 'goto': {
          const end = await this.#chain(verdict.chain!);
          if (end.by !== 'end' || verdict.code === 'goto') return end;
          continue;
        }
        case 'return':
          return { by: 'end' };
        default:
          // 'queue', 'stolen', 'repeat': whoever listens.
          this.doubt(rule, `a program that is asked (${verdict.code})`);
      }
    }
    return { by: 'end' };
  }

  async #rule(rule: NftRule): Promise<Step | undefined> {
    const expressions = rule.expressions ?? [];
    const before = this.frame;
    for (const [index, expression] of expressions.entries()) {
      const stepped: Stepped = await step(this, expression, rule);
      if (stepped === 'on') continue;
      this.#tellChange(before, rule);
      if (stepped === 'break') return undefined;
      if (typeof stepped === 'object' && 'why' in stepped) {
        if (matters(expressions.slice(index))) this.doubt(rule, stepped.why);
        return undefined;
      }
      return stepped;
    }
    this.#tellChange(before, rule);
    return undefined;
  }

  #tellChange(before: Frame, rule: NftRule): void {
    const changes = changesOf(before, this.frame);
    if (changes !== '') this.say(`${this.translated ? 'translates' : 'rewrites'} it, ${handle(rule)}: ${changes}`, rule);
  }
}

export type { Evaluation };

function handle({ chain, handle = 0n, userdata }: NftRule): string {
  const comment = userdata?.[0] === 0 ? new TextDecoder().decode(userdata.subarray(2, 2 + userdata[1]!)).replace(/\0$/, '') : undefined;
  return `rule ${handle} of ${chain}${comment === undefined ? '' : ` ("${comment}")`}`;
}
