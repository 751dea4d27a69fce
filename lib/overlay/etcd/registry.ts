// A registry in etcd, in flannel's own layout: real flannel nodes and ours share a network.
import { joined } from '../../signal.js';
import { randomInt } from 'node:crypto';
import * as v from 'valibot';
import { type Schema, array, check, integer, optional, options, text } from '../../check.js';
import { localMac } from '../../primitive/mac.js';
import { OverlayError } from '../error.js';
import type { OverlayEnd, OverlayNode } from '../node.js';
import type { Joining, OverlayMembership, OverlayRegistry } from '../registry.js';
import { type Family, type Subnet, families, holds, overlap, sizeOf, subnet } from '../subnet.js';
import { DEFAULT_VNI } from '../wanted.js';
import { EtcdClient, type EtcdAccess, type Json } from './client.js';
import { type FlannelConfig, type Lease, type Range, formatValue, keyOf, parseConfig, parseLease } from './layout.js';

export interface EtcdOptions extends EtcdAccess {
  /** Where flannel's keys are. Default '/coreos.com/network'. */
  readonly prefix?: string;
  /** Seconds for which a node keeps its subnet without a word from it. Default 86400, a day, as flannel has it. */
  readonly leaseTime?: number;
}

const PREFIX = '/coreos.com/network';
const LEASE_SECONDS = 86_400;
/** The least that etcd grants with its usual settings. */
const LEAST_LEASE_SECONDS = 2;
/** How often a subnet is tried for that somebody else took at the same moment. */
const RACES = 20;
/** Of so many free subnets one is drawn, so that nodes that start together seldom want the same; as in flannel. */
const CHOICE = 100;
const BACK_OFF_MILLISECONDS = { first: 100, last: 5000 };
/** Beside the watch: what it missed, if it ever does, is seen then. */
const RELIST_MILLISECONDS = 5 * 60_000;
const MAX_PROBLEMS = 100;

const pem = v.union([v.pipe(v.string(), v.startsWith('-----BEGIN', 'must be PEM')), v.instance(Uint8Array)], 'must be PEM: its text or bytes, not the name of a file'); // prettier-ignore
const endpoint = v.pipe(
  text,
  v.check((value) => {
    const url = URL.canParse(value) ? new URL(value) : undefined;
    return url !== undefined && /^https?:$/.test(url.protocol) && url.pathname === '/' && url.search === '' && url.username === '' && url.password === ''; // prettier-ignore
  }, "must be an endpoint such as 'https://10.0.0.1:2379', with nothing behind the port; user and password are options of their own"),
);
const schema = v.pipe(
  options({
    endpoints: v.pipe(array(endpoint), v.minLength(1, 'must name an endpoint')),
    tls: optional(
      options({ ca: optional(pem), cert: optional(pem), key: optional(pem), passphrase: optional(text), servername: optional(text) }),
    ),
    username: optional(text),
    password: optional(text),
    timeout: optional(integer(1, 600_000)),
    prefix: optional(v.pipe(text, v.regex(/^\/[^\0]*[^/\0]$/, "must be a path such as '/coreos.com/network'"))),
    leaseTime: optional(integer(LEAST_LEASE_SECONDS, 315_360_000)),
  }),
  v.check(
    ({ username, password }) => (username === undefined) === (password === undefined),
    "must have both 'username' and 'password', or neither",
  ),
  v.check(({ tls }) => (tls?.cert === undefined) === (tls?.key === undefined), "must have both 'tls.cert' and 'tls.key', or neither"),
);

/**
 * A registry in etcd v3, as flannel keeps it: the network in PREFIX/config, a key for each node in PREFIX/subnets/, attached to a lease.
 * The node takes a free subnet, or the one that it had; keeps its lease alive, takes its subnet again where that was lost, and watches
 * the others. While etcd is away everything stays as it was last known.
 *
 * etcd is reached from the namespace of this process, whichever node joins.
 *
 * Like `flanneld --etcd-endpoints ... --etcd-prefix ... --etcd-cafile ...`. Needs etcd 3.4, with its HTTP/JSON gateway, which is on
 * unless `--enable-grpc-gateway=false`. By the gateway, etcd takes no user from a certificate's common name: use a password.
 * @throws TypeError ERR_INVALID_ARG_*
 * @example etcdRegistry({ endpoints: ['https://10.0.0.1:2379'], tls: { ca: readFileSync('ca.pem') }, username: 'node', password })
 */
export function etcdRegistry(settings: EtcdOptions): OverlayRegistry {
  const {
    prefix = PREFIX,
    leaseTime = LEASE_SECONDS,
    ...access
  } = check(schema as unknown as Schema<EtcdOptions>, settings, 'etcdRegistry');
  const client = new EtcdClient(access);
  return {
    network: async (signal) => (await readConfig(client, prefix, signal)).network,
    join: (joining, changed, signal) => Member.join({ client, prefix, leaseTime, joining, changed }, signal),
  };
}

async function readConfig(client: EtcdClient, prefix: string, signal?: AbortSignal): Promise<FlannelConfig> {
  const { kvs } = await range(client, `${prefix}/config`, undefined, signal);
  const [found] = kvs;
  if (found === undefined)
    throw new OverlayError('ERR_OVERLAY_CONFIG', `etcd has no ${prefix}/config, which would describe the network`, { about: 'config' });
  return parseConfig(found.value);
}

// ------------------------------------------------------------------ etcd's messages

interface KeyValue {
  readonly key: string;
  readonly value: string;
  /** '0': it lasts. */
  readonly lease: string;
  readonly revision: string;
}

async function range(
  client: EtcdClient,
  key: string,
  end: string | undefined,
  signal: AbortSignal | undefined,
): Promise<{ kvs: readonly KeyValue[]; revision: bigint }> {
  const answer = await client.call('/v3/kv/range', { key: encode(key), ...(end !== undefined && { range_end: encode(end) }) }, signal);
  return { kvs: list(answer.kvs).map(keyValue), revision: revisionOf(answer) };
}

function encode(value: string): string {
  return Buffer.from(value).toString('base64');
}

function list(value: unknown): readonly Json[] {
  return Array.isArray(value) ? value.filter((one): one is Json => typeof one === 'object' && one !== null) : [];
}

function decode(value: unknown): string {
  return typeof value === 'string' ? Buffer.from(value, 'base64').toString() : '';
}

function keyValue(kv: Json): KeyValue {
  return { key: decode(kv.key), value: decode(kv.value), lease: digits(kv.lease), revision: digits(kv.mod_revision) };
}

/** 64 bits come as text, and 0 not at all. */
function digits(value: unknown): string {
  return typeof value === 'string' && /^-?\d{1,20}$/.test(value) ? value : '0';
}

function revisionOf(answer: Json): bigint {
  const { revision } = (typeof answer.header === 'object' && answer.header !== null ? answer.header : {}) as Json;
  return BigInt(digits(revision));
}

// ------------------------------------------------------------------ a node among the others

interface Setting {
  readonly client: EtcdClient;
  readonly prefix: string;
  readonly leaseTime: number;
  readonly joining: Joining;
  readonly changed: () => void;
}

interface Parsed {
  readonly nodes: readonly OverlayNode[];
  readonly problems: readonly OverlayError[];
}

class Member implements OverlayMembership {
  readonly #setting: Setting;
  readonly #stopped = new AbortController();
  /** Keys without the prefix. */
  readonly #entries = new Map<string, KeyValue>();
  #parsed: Parsed | undefined;
  #self: OverlayNode | undefined;
  #subnets: Lease['subnets'] = {};
  #lease = '0';
  #revision = 0n;
  #troubles = new Map<'watch' | 'lease' | 'subnet', OverlayError>();
  #working: Promise<unknown> = Promise.resolve();
  #refresh: AbortController | undefined;

  private constructor(setting: Setting) {
    this.#setting = setting;
  }

  static async join(setting: Setting, signal: AbortSignal | undefined): Promise<Member> {
    const member = new Member(setting);
    await member.#list(signal);
    await member.#acquire(signal);
    await member.#list(signal);
    member.#working = Promise.all([member.#watching(), member.#keeping()]);
    return member;
  }

  get self(): OverlayNode {
    return this.#self!;
  }
  get nodes(): readonly OverlayNode[] {
    return this.#read().nodes;
  }
  get problems(): readonly OverlayError[] {
    return [...this.#troubles.values(), ...this.#read().problems];
  }

  get #folder(): string {
    return `${this.#setting.prefix}/subnets/`;
  }
  /** The end of its keys: '0' is what follows '/'. */
  get #folderEnd(): string {
    return `${this.#setting.prefix}/subnets0`;
  }
  get #key(): string {
    return keyOf(this.#subnets);
  }
  get #value(): string {
    return formatValue(this.self, this.#setting.joining.network.vni ?? DEFAULT_VNI);
  }

  #read(): Parsed {
    if (this.#parsed !== undefined) return this.#parsed;
    const nodes: OverlayNode[] = [this.self];
    const problems: OverlayError[] = [];
    for (const { key, value } of this.#entries.values()) {
      // This node's own, whatever somebody made of it for the moment.
      if (this.#self !== undefined && key === this.#key) continue;
      const lease = parseLease(key, value);
      if (typeof lease !== 'string') nodes.push(lease.node);
      else if (problems.length < MAX_PROBLEMS) {
        const about = JSON.stringify(key.slice(0, 80));
        problems.push(new OverlayError('ERR_OVERLAY_NODE', `the entry ${about} is passed over: ${lease}`, { about }));
      }
    }
    return (this.#parsed = { nodes, problems });
  }

  #changed(): void {
    this.#parsed = undefined;
    this.#setting.changed();
  }

  /** Everything as it is now; what is no longer there is forgotten. */
  async #list(signal?: AbortSignal): Promise<void> {
    const { kvs, revision } = await range(this.#setting.client, this.#folder, this.#folderEnd, signal);
    this.#entries.clear();
    for (const kv of kvs) this.#enter(kv);
    this.#revision = revision;
    this.#changed();
  }

  #enter(kv: KeyValue): void {
    const key = kv.key.slice(this.#folder.length);
    this.#entries.set(key, { ...kv, key });
  }

  // ---------------------------------------------------------------- a subnet

  /** From the list as it was read last. Asks again where somebody else was quicker. */
  async #acquire(signal?: AbortSignal): Promise<void> {
    for (let race = 1; ; race++) {
      const config = await readConfig(this.#setting.client, this.#setting.prefix, signal);
      if (await this.#tryAcquire(config, signal)) return;
      if (race === RACES)
        throw new OverlayError('ERR_OVERLAY_NO_SUBNET', `somebody else took the subnet that was free, ${RACES} times running`);
      await this.#list(signal);
    }
  }

  async #tryAcquire(config: FlannelConfig, signal: AbortSignal | undefined): Promise<boolean> {
    const { joining } = this.#setting;
    const leases = [...this.#entries.values()].map((kv) => ({ kv, lease: parseLease(kv.key, kv.value) }));
    // By its public address a node knows its subnet again, after a restart; flannel's rule, too.
    const own = leases.find(({ lease }) => typeof lease !== 'string' && isOf(joining, lease.node));
    if (own !== undefined && typeof own.lease !== 'string') {
      if (fits(config, own.lease.subnets)) {
        this.#announce(own.lease.subnets, own.lease.node);
        // What lasts without a lease was reserved by hand, and stays so.
        const condition = { target: 'MOD', result: 'EQUAL', key: encode(this.#folder + own.kv.key), mod_revision: own.kv.revision };
        return this.#put([condition], own.kv.lease === '0' ? '0' : undefined, signal);
      }
      await this.#delete(own.kv, signal);
      this.#entries.delete(own.kv.key);
    }
    const taken = [...this.#entries.keys()].flatMap((key) => {
      const lease = parseLease(key, this.#entries.get(key)!.value);
      return typeof lease === 'string' ? [] : [lease.subnets];
    });
    const subnets = this.#previous(config, taken) ?? this.#free(config, taken);
    this.#announce(subnets, undefined);
    const conditions: Json[] = [{ target: 'VERSION', result: 'EQUAL', key: encode(this.#folder + keyOf(subnets)), version: '0' }];
    // A key of both families is another one if but one of its subnets is: nothing at all may have changed since the list.
    if (subnets.ipv4 !== undefined && subnets.ipv6 !== undefined)
      conditions.push({
        target: 'MOD',
        result: 'LESS',
        key: encode(this.#folder),
        range_end: encode(this.#folderEnd),
        mod_revision: String(this.#revision + 1n),
      });
    return this.#put(conditions, undefined, signal);
  }

  /** The subnet that this process had, if it is still nobody's. */
  #previous(config: FlannelConfig, taken: readonly Lease['subnets'][]): Lease['subnets'] | undefined {
    if (this.#self === undefined || !fits(config, this.#subnets)) return undefined;
    const isFree = families.every((family) => {
      const own = this.#subnets[family];
      return own === undefined || !taken.some(({ [family]: other }) => other !== undefined && overlap(own, other));
    });
    return isFree ? this.#subnets : undefined;
  }

  #free(config: FlannelConfig, taken: readonly Lease['subnets'][]): Lease['subnets'] {
    const found: { ipv4?: Subnet; ipv6?: Subnet } = {};
    for (const family of families) {
      const from = config[family];
      if (from === undefined) continue;
      // An entry that is no part of the network, or all of it, takes nobody's place.
      const choice = freeIn(family, from, taken.flatMap((subnets) => subnets[family] ?? []).filter((one) => holds(from.network, one) && one.length > from.network.length)); // prettier-ignore
      if (choice.length === 0)
        throw new OverlayError('ERR_OVERLAY_NO_SUBNET', `every /${from.length} of ${from.network.text} is taken`, {
          about: from.network.text,
        });
      found[family] = choice[randomInt(choice.length)]!;
    }
    return found;
  }

  /** What this node says of itself from now on. Its MAC stays what it is, or was. */
  #announce(subnets: Lease['subnets'], before: OverlayNode | undefined): void {
    const { joining } = this.#setting;
    const node: { ipv4?: OverlayEnd; ipv6?: OverlayEnd } = {};
    for (const family of families) {
      const own = subnets[family];
      const end = joining[family];
      if (own === undefined || end === undefined) continue;
      const known = before?.[family]?.vtepMac;
      const vtepMac = this.#self?.[family]?.vtepMac ?? end.vtepMac ?? (known !== undefined && isInterfaceMac(known) ? known : localMac());
      node[family] = { subnet: own.text, publicIp: end.publicIp, vtepMac };
    }
    this.#self = node;
    this.#subnets = subnets;
  }

  async #put(conditions: readonly Json[], lease: string | undefined, signal: AbortSignal | undefined): Promise<boolean> {
    const { client, leaseTime } = this.#setting;
    const granted = lease ?? digits((await client.call('/v3/lease/grant', { TTL: String(leaseTime), ID: '0' }, signal)).ID);
    const put = { request_put: { key: encode(this.#folder + this.#key), value: encode(this.#value), lease: granted } };
    const answer = await client.call('/v3/kv/txn', { compare: conditions, success: [put], failure: [] }, signal);
    if (answer.succeeded !== true) {
      if (granted !== '0') await client.call('/v3/lease/revoke', { ID: granted }, signal).catch(() => undefined);
      return false;
    }
    this.#lease = granted;
    this.#entries.set(this.#key, { key: this.#key, value: this.#value, lease: granted, revision: String(revisionOf(answer)) });
    this.#changed();
    return true;
  }

  async #delete({ key, revision }: KeyValue, signal?: AbortSignal): Promise<void> {
    await this.#setting.client.call(
      '/v3/kv/txn',
      {
        compare: [{ target: 'MOD', result: 'EQUAL', key: encode(this.#folder + key), mod_revision: revision }],
        success: [{ request_delete_range: { key: encode(this.#folder + key) } }],
        failure: [],
      },
      signal,
    );
  }

  // ---------------------------------------------------------------- keeping it

  /** Until it is left: the lease is kept alive, and taken anew where it was lost. */
  async #keeping(): Promise<void> {
    const { client, leaseTime } = this.#setting;
    const usual = (leaseTime * 1000) / 3;
    let pause = usual;
    let failures = 0;
    for (;;) {
      if (!(await this.#sleep(pause))) return;
      try {
        if (this.#lease !== '0') {
          const { TTL } = await client.call('/v3/lease/keepalive', { ID: this.#lease }, this.#stopped.signal);
          // The watch tells of the key that went with it; but it may not have come so far.
          if (digits(TTL) === '0') await this.#again();
        }
        this.#trouble('lease', undefined);
        failures = 0;
        pause = usual;
      } catch (error) {
        if (this.#stopped.signal.aborted) return;
        this.#trouble('lease', error);
        // The watch may hang on the same dead connection, and not know.
        this.#refresh?.abort();
        pause = Math.min(usual, backOff(failures++));
      }
    }
  }

  /** The key is not ours any more, or not what it should be. One at a time: the watch and the lease may both find out. */
  #again(): Promise<void> {
    return (this.#reacquiring ??= this.#reacquire().finally(() => (this.#reacquiring = undefined)));
  }
  #reacquiring: Promise<void> | undefined;

  async #reacquire(): Promise<void> {
    const { signal } = this.#stopped;
    const before = this.#key;
    await this.#list(signal);
    if (this.#isAsAnnounced()) return;
    await this.#acquire(signal);
    const lost = this.#key === before ? undefined : new OverlayError('ERR_OVERLAY_SUBNET_LOST', `the subnet ${before} went to another node; this one has ${this.#key} now, and pods with addresses of the old one are cut off`, { about: before }); // prettier-ignore
    if (lost !== undefined) this.#trouble('subnet', lost);
  }

  #isAsAnnounced(): boolean {
    const own = this.#entries.get(this.#key);
    return own !== undefined && own.lease === this.#lease && own.value === this.#value;
  }

  // ---------------------------------------------------------------- the others

  /** Lists, and watches from there, again and again: a watch that broke may have missed something, or its past may have been compacted away. */
  async #watching(): Promise<void> {
    const { signal } = this.#stopped;
    let failures = 0;
    while (!signal.aborted) {
      const refresh = (this.#refresh = new AbortController());
      const timer = setTimeout(() => refresh.abort(), RELIST_MILLISECONDS);
      const either = joined([signal, refresh.signal]);
      try {
        if (!this.#isAsAnnounced()) await this.#again();
        for await (const answer of this.#watch(either.signal)) {
          failures = 0;
          this.#trouble('watch', undefined);
          if (!this.#follow(answer)) break;
          if (!this.#isAsAnnounced()) await this.#again();
        }
        if (!signal.aborted) {
          if (!refresh.signal.aborted) await this.#sleep(BACK_OFF_MILLISECONDS.first);
          await this.#list(signal);
          this.#trouble('watch', undefined);
        }
      } catch (error) {
        if (signal.aborted) return;
        this.#trouble('watch', error);
        await this.#sleep(backOff(failures++));
        // What was missed meanwhile is in the list, which is asked for until there is one.
        await this.#list(signal).then(
          () => this.#trouble('watch', undefined),
          () => undefined,
        );
      } finally {
        either.release();
        clearTimeout(timer);
      }
    }
  }

  #watch(signal: AbortSignal): AsyncGenerator<Json, void, undefined> {
    const { client } = this.#setting;
    const create = { key: encode(this.#folder), range_end: encode(this.#folderEnd), start_revision: String(this.#revision + 1n) };
    return client.stream('/v3/watch', { create_request: create }, signal);
  }

  /** false where the watch is at its end: cancelled, because what it should begin with was compacted, say. */
  #follow(answer: Json): boolean {
    if (answer.canceled === true) return false;
    const events = list(answer.events);
    for (const event of events) {
      const kv = keyValue((typeof event.kv === 'object' && event.kv !== null ? event.kv : {}) as Json);
      if (!kv.key.startsWith(this.#folder)) continue;
      if (event.type === 'DELETE') this.#entries.delete(kv.key.slice(this.#folder.length));
      else this.#enter(kv);
    }
    const revision = revisionOf(answer);
    if (revision > this.#revision) this.#revision = revision;
    if (events.length > 0) this.#changed();
    return true;
  }

  // ---------------------------------------------------------------- the rest

  #trouble(kind: 'watch' | 'lease' | 'subnet', error: unknown): void {
    const before = this.#troubles.get(kind);
    if (error === undefined) this.#troubles.delete(kind);
    else
      this.#troubles.set(
        kind,
        error instanceof OverlayError
          ? error
          : new OverlayError('ERR_ETCD_REFUSED', error instanceof Error ? error.message : 'something that is no error was thrown', {
              cause: error,
            }),
      );
    if (before?.message !== this.#troubles.get(kind)?.message) this.#setting.changed();
  }

  /** false: it was left meanwhile. */
  #sleep(milliseconds: number): Promise<boolean> {
    const { signal } = this.#stopped;
    if (signal.aborted) return Promise.resolve(false);
    return new Promise((resolve) => {
      const end = (): void => {
        clearTimeout(timer);
        signal.removeEventListener('abort', end);
        resolve(!signal.aborted);
      };
      // setTimeout takes 31 bits.
      const timer = setTimeout(end, Math.min(milliseconds, 0x7fffffff));
      signal.addEventListener('abort', end);
    });
  }

  async leave({ keep = false }: { readonly keep?: boolean } = {}): Promise<void> {
    this.#stopped.abort();
    await this.#working;
    if (keep) return;
    if (this.#lease !== '0') await this.#setting.client.call('/v3/lease/revoke', { ID: this.#lease });
  }
}

function backOff(failures: number): number {
  return Math.min(BACK_OFF_MILLISECONDS.first * 2 ** failures, BACK_OFF_MILLISECONDS.last);
}

function isOf(joining: Joining, node: OverlayNode): boolean {
  return joining.ipv4 !== undefined ? node.ipv4?.publicIp === joining.ipv4.publicIp : node.ipv6?.publicIp === joining.ipv6?.publicIp;
}

function isInterfaceMac(mac: string): boolean {
  return /^[0-9a-f][02468ace](:[0-9a-f]{2}){5}$/.test(mac) && mac !== '00:00:00:00:00:00';
}

/** Whether subnets are what the configuration hands out today. */
function fits(config: FlannelConfig, subnets: Lease['subnets']): boolean {
  return families.every((family) => {
    const [from, own] = [config[family], subnets[family]];
    if (from === undefined || own === undefined) return from === undefined && own === undefined;
    return own.length === from.length && own.address >= from.min && own.address <= from.max;
  });
}

/** Those that overlap none of the taken ones, the first hundred. */
export function freeIn(family: Family, { length, min, max }: Range, taken: readonly Subnet[]): readonly Subnet[] {
  const free: Subnet[] = [];
  const size = sizeOf(family, length);
  const same = new Set(taken.filter((one) => one.length === length).map(({ address }) => address));
  const others = taken.filter((one) => one.length !== length);
  for (let address = min; address <= max && free.length < CHOICE; address += size) {
    if (same.has(address)) continue;
    const one = subnet(family, address, length);
    const wide = others.find((other) => overlap(one, other));
    if (wide === undefined) free.push(one);
    // A wide one is stepped over at once: it may hold more subnets than can be counted.
    else if (wide.length < length) address = wide.address + sizeOf(family, wide.length) - size;
  }
  return free;
}
