// Whether a key is in a set of nftables, and what a map has for it.
import type { NftElement, NftSet } from '../../kernel/nft.js';
import { typeLengths } from '../../wire/nft/numbers.js';
import { type Datum, type Truth, compare, equal, part } from './datum.js';

export type Found = { readonly element?: NftElement } | { readonly why: string };

export function find(set: NftSet, elements: readonly NftElement[], key: Datum): Found {
  const ordinary = elements.filter((element) => element.key !== undefined && !isCatchall(element));
  const found = set.flags?.includes('interval') !== true ? among(ordinary, ({ key: one }) => equal(key, one!)) : (set.key ?? []).length > 1 || ordinary.some(({ keyEnd }) => keyEnd !== undefined) ? among(ordinary, (element) => inFields(set, element, key)) : inIntervals(ordinary, key); // prettier-ignore
  if ('why' in found || found.element !== undefined) return found;
  const rest = elements.find(isCatchall);
  return rest === undefined ? {} : { element: rest };
}

function isCatchall({ flags }: NftElement): boolean {
  return flags?.includes('catchall') === true;
}

function among(elements: readonly NftElement[], matches: (element: NftElement) => Truth): Found {
  let why: string | undefined;
  for (const element of elements) {
    const truth = matches(element);
    if (truth === true) return { element };
    if (typeof truth === 'string') why = truth;
  }
  return why === undefined ? {} : { why };
}

/** Each field for itself, between that of the key and that of its end. */
function inFields({ key: types = [] }: NftSet, { key: from, keyEnd: to = from }: NftElement, key: Datum): Truth {
  let at = 0;
  let why: string | undefined;
  for (const type of types) {
    const length = typeLengths[type] ?? 4;
    const truth = between(part(key, at, length), from!.slice(at, at + length), to!.slice(at, at + length));
    if (truth === false) return false;
    if (typeof truth === 'string') why = truth;
    at += 4 * Math.ceil(length / 4);
  }
  return why ?? true;
}

export function between(datum: Datum, from: Uint8Array, to: Uint8Array): Truth {
  const [low, high] = [compare(datum, from), compare(datum, to)];
  if ((typeof low === 'number' && low < 0) || (typeof high === 'number' && high > 0)) return false;
  return typeof low === 'string' ? low : typeof high === 'string' ? high : true;
}

/** Where intervals begin, and where they have ended, as one row: the last one that is not above the key tells. */
function inIntervals(elements: readonly NftElement[], key: Datum): Found {
  let last: NftElement | undefined;
  for (const element of [...elements].sort(byKey)) {
    const order = compare(key, element.key!);
    if (typeof order === 'string') return { why: order };
    if (order < 0) break;
    last = element;
  }
  return last === undefined || isEnd(last) ? {} : { element: last };
}

function isEnd({ flags }: NftElement): boolean {
  return flags?.includes('interval_end') === true;
}

/** Of an end and a beginning at the same place the beginning counts. */
function byKey(a: NftElement, b: NftElement): number {
  return Buffer.compare(a.key!, b.key!) || Number(isEnd(b)) - Number(isEnd(a));
}
