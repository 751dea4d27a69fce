// Getting back: from what was, what we made of it and what is there now, to what shall be there. Somebody else's changes stay.
import { isTentative, temporaryForm } from './address.js';
import { type Image, type Images } from './images.js';
import { type existence } from './link.js';
import { isWithin } from '../wire/prefix.js';
import type { Route } from '../wire/route.js';
import { type NftTableValue, changedParts, strangers } from './nft.js';
import { keys, kindOfKey, linkOfKey } from './resource.js';
import { devicesOf, isIpv6 } from './route.js';
import type { State } from './snapshot.js';
import { type Value, canonical, same } from './value.js';

export interface Reconciled {
  /** What each resource shall be; undefined: it shall not be there. Interfaces that were made are not among them. */
  readonly wants: ReadonlyMap<string, Value>;
  /** Indexes of the interfaces that were made, and are there. */
  readonly made: readonly number[];
  /** What somebody else has changed meanwhile, and so is left, a line each. */
  readonly leftBehind: readonly string[];
}

export function reconcile(images: Images, state: State): Reconciled {
  const wants = new Map<string, Value>();
  const made: number[] = [];
  const leftBehind: string[] = [];
  const lost = new Set<number>();
  const sources = lostSources(images, state);
  for (const [key, image] of images.touched) {
    const now = state.get(key);
    const index = linkOfKey(key);
    if (kindOfKey(key) === 'link') {
      if (now === undefined) continue;
      if (isOf(image, now)) made.push(index!);
      else leftBehind.push(`the interface '${nameOf(now)}' has the index ${index} of one that podtap made, and is another one`);
      continue;
    }
    if (index !== undefined && !state.links.has(index)) {
      if (image.before === undefined) continue;
      if (!lost.has(index)) leftBehind.push(`the interface with index ${index} is gone, and with it what it had`);
      lost.add(index);
      continue;
    }
    if (same(now, image.before) && !(now !== undefined && isTentative(state.resources.get(key)?.read))) continue;
    if (kindOfKey(key) === 'nft' && now !== undefined && image.before === undefined) {
      const stays = takeTable(key, image, now, state, leftBehind);
      if (!same(now, stays)) wants.set(key, stays);
      continue;
    }
    if (isOfOurs(key, image, images, state)) continue;
    // It was no port. Now it is another bridge's, whose business its settings as one are: that it is, is told of `master`.
    if (isOfPort(key) && (image.before === undefined || images.touched.get(keys.setting(index!, 'master'))?.before === 0)) continue;
    const { src } = (kindOfKey(key) === 'route' ? (image.before ?? {}) : {}) as { src?: string };
    if (src !== undefined && sources.has(src)) {
      leftBehind.push(`${describe(key, state)} is ${told(now)}, and cannot have its source address ${src} again, which is gone with its interface`); // prettier-ignore
      continue;
    }
    const users = image.before === undefined && kindOfKey(key) === 'qdisc' ? othersFilters(images, state, index!) : 0;
    if (users > 0)
      leftBehind.push(`${describe(key, state)} was made by podtap and stays, for ${users === 1 ? 'a filter' : `${users} filters`} of somebody else`); // prettier-ignore
    else if (isOf(image, now) || isHalfBack(key, image, now)) wants.set(key, image.before);
    else
      leftBehind.push(`${describe(key, state)} is ${told(now)}, and was ${told(image.before)} before podtap made it ${afterText(image)}`);
  }
  for (const [prefix, known] of images.additions)
    for (const key of state.resources.keys())
      if (key.startsWith(prefix) && !known.includes(key) && !images.touched.has(key)) wants.set(key, undefined);
  for (const key of mendedPrograms(images, state)) wants.set(key, undefined);
  return { wants, made, leftBehind };
}

/** A program of podtap's that somebody took off and a repair has put back has another id: it is known by its name. */
function mendedPrograms(images: Images, state: State): readonly string[] {
  const made = [...images.touched].filter(([key, { before }]) => kindOfKey(key) === 'tcx' && before === undefined).map(([key]) => key.slice(0, key.lastIndexOf('/') + 1)); // prettier-ignore
  return [...state.resources.keys()].filter((key) => !images.touched.has(key) && made.some((prefix) => key.startsWith(prefix)));
}

/** A table that podtap made goes, whatever has become of it: it bears podtap's name, and would hold up the pod's traffic. What others have done to it is told, and what they have put into it stays. */
function takeTable(key: string, { after }: Image, value: Value, state: State, leftBehind: string[]): Value {
  const now = value as unknown as NftTableValue;
  const table = describe(key, state);
  const [left] = after === 'any' ? [] : after;
  const changes = left === undefined ? [] : changedParts(Number(key.split('/')[1]), left as unknown as NftTableValue, now, state.links);
  if (changes.length > 0) leftBehind.push(`${table} was changed by somebody and is taken away: ${changes.join(', ')}`);
  if (now.others.length > 0) leftBehind.push(`${table} stays, with what somebody else has put into it: ${now.others.join(', ')}`);
  return strangers(now);
}

/** Addresses of interfaces that are gone, which are nowhere else: the kernel lets no route come from them. */
function lostSources(images: Images, state: State): ReadonlySet<string> {
  const bare = (value: Value): string => (value as unknown as { address: string }).address.replace(/\/.*/, '');
  const found = new Set<string>();
  for (const [key, { before }] of images.touched)
    if (kindOfKey(key) === 'address' && before !== undefined && !state.links.has(linkOfKey(key)!)) found.add(bare(before));
  for (const { kind, value } of state.resources.values()) if (kind === 'address') found.delete(bare(value));
  return found;
}

/** A route of the kernel's that was met after an address was added, with which it came: it goes with it. */
function isOfOurs(key: string, { before }: Image, images: Images, state: State): boolean {
  if (kindOfKey(key) !== 'route' || (before as unknown as Route | undefined)?.protocol !== 'kernel') return false;
  const route = before as unknown as Route;
  const links = devicesOf(route);
  const explains = (address: string): boolean => {
    const [own = ''] = address.split('/');
    return isIpv6(route) ? own.includes(':') && isWithin(own, route.dst) : route.src === own;
  };
  // By the keys: what becomes of one that is added is not known beforehand.
  const isItsAddress = (one: string): boolean =>
    kindOfKey(one) === 'address' &&
    links.includes(linkOfKey(one)) &&
    explains(
      one
        .split('/')
        .slice(2)
        .join('/')
        .replace(/ peer .*/, ''),
    );
  const touched = [...images.touched].filter(([one]) => isItsAddress(one));
  if (touched.length === 0 || touched.some(([, image]) => image.before !== undefined)) return false;
  return ![...state.resources.keys()].some((one) => isItsAddress(one) && !images.touched.has(one));
}

/** Of an interface, those that podtap has not made: they would go with their qdisc. */
function othersFilters(images: Images, state: State, index: number): number {
  const isOurs = (key: string): boolean =>
    (images.touched.has(key) && images.touched.get(key)!.before === undefined) || [...images.additions].some(([prefix, known]) => key.startsWith(prefix) && !known.includes(key)); // prettier-ignore
  return [...state.resources.values()].filter(({ kind, link, key }) => kind === 'filter' && link === index && !isOurs(key)).length;
}

/** As an undo that was killed has left it. */
function isHalfBack(key: string, { before }: Image, now: Value): boolean {
  return kindOfKey(key) === 'address' && before !== undefined && same(now, temporaryForm(before));
}

function isOfPort(key: string): boolean {
  return kindOfKey(key) === 'setting' && key.includes('/port/');
}

function isOf({ after }: Image, now: Value): boolean {
  return after === 'any' || after.some((one) => same(one, now));
}

function afterText({ after }: Image): string {
  return after === 'any' ? 'another' : after.map(told).join(' or ');
}

function nameOf(link: Value): string {
  return (link as unknown as ReturnType<typeof existence> & { name: string }).name;
}

function told(value: Value): string {
  if (value === undefined) return 'absent';
  return typeof value === 'object' ? canonical(value) : String(value);
}

/** For people: 'address 10.1.0.2/24 of eth0', 'mtu of eth0'. */
export function describe(key: string, state: State): string {
  const index = linkOfKey(key);
  const name = index === undefined ? '' : (state.links.get(index)?.name ?? `if${index}`);
  const rest = key.split('/').slice(index === undefined ? 1 : 2);
  const devices = (text: string): string =>
    text.replace(/%(\d+)/g, (_, number: string) => ` dev ${state.links.get(Number(number))?.name ?? `if${number}`}`);
  switch (kindOfKey(key)) {
    case 'link':
      return `interface ${name}`;
    case 'setting':
      return `${rest.join(' ')} of ${name}`;
    case 'route': {
      const [head = '', type = '', way = ''] = key.split('|');
      const [, table, address, length, metric] = head.split('/');
      const by = way.includes('[') ? ' by several gateways' : way.replace(/^(?=[\da-f])/, ' via ').replace(/^(?=nhid)/, ' ');
      return `route ${type === 'unicast' ? '' : `${type} `}${address}/${length} table ${table} metric ${metric}${devices(by)}`;
    }
    case 'nft':
      return `the nftables table netdev podtap_${rest[0]}`;
    case 'rule':
      return `rule ${rest[0]} ${rest[1]?.split('|')[0] ?? ''}`;
    case 'sysctl':
      return `sysctl ${rest.join('/')}`;
    default:
      return `${kindOfKey(key)} ${rest.join('/')} of ${name}`;
  }
}

/** The tables that an undo must look at. */
export function sysctlsOf(images: Images): string[] {
  const prefix = keys.sysctl('');
  return [...images.touched.keys()].filter((key) => key.startsWith(prefix)).map((key) => key.slice(prefix.length));
}
