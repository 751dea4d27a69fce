// What a journal entry says of a change: its images, and what its maker keeps with them. What is read back was on a disk, where
// anybody could have written who can become this user: it is checked before it is believed.
import * as v from 'valibot';
import { PodtapError } from '../errors.js';
import { Images } from '../state/images.js';
import type { Value } from '../state/value.js';

export interface Record {
  readonly images: Images;
  /** The id of the entry on which it depends: as long as that is there, so is the transaction; after it, what is 'applied' stays. */
  readonly main?: string | undefined;
  /** Of the namespace. */
  readonly inode?: bigint | undefined;
  /** Whatever the maker keeps: a plumbing. */
  readonly kept?: Value;
  /** The id of the entry of something finished to which this one adds: until that one says so (`joined`), this is to be undone by itself. */
  readonly joins?: string | undefined;
  /** The id of the last entry that was added to this one. What that one changed is in the images since. */
  readonly joined?: string | undefined;
  /** Of an entry that joins another: what is to be undone once it was added, such as what is no longer wanted. */
  readonly then?: Images | undefined;
}

const key = v.pipe(
  v.string(),
  v.regex(/^(link|setting|address|route|rule|neighbor|proxy|fdb|qdisc|filter|tcx|localhost|nft|sysctl)\/./),
  v.maxLength(4096),
);
const prefix = v.pipe(v.string(), v.regex(/^(route|rule|fdb|filter|tcx)\//), v.maxLength(4096));
const imagesSchema = v.object({
  touched: v.array(v.tuple([key, v.unknown(), v.union([v.literal('any'), v.array(v.unknown())])])),
  additions: v.array(v.tuple([prefix, v.array(v.string())])),
  orders: v.array(v.tuple([v.string(), v.array(v.string())])),
});
const id = v.pipe(v.string(), v.regex(/^[0-9a-f]{16}$/));
const schema = v.object({
  images: imagesSchema,
  main: v.optional(id),
  inode: v.optional(v.bigint()),
  kept: v.optional(v.unknown()),
  joins: v.optional(id),
  joined: v.optional(id),
  then: v.optional(imagesSchema),
});

export function recordToValue({ images, main, inode, kept, joins, joined, then }: Record): Value {
  return {
    images: images.toValue(),
    ...(main !== undefined && { main }),
    ...(inode !== undefined && { inode }),
    ...(kept !== undefined && { kept }),
    ...(joins !== undefined && { joins }),
    ...(joined !== undefined && { joined }),
    ...(then !== undefined && { then: then.toValue() }),
  };
}

/** @throws PodtapError ERR_JOURNAL_UNREADABLE */
export function recordOf(entry: { readonly path: string; readonly body: unknown }): Record {
  const result = v.safeParse(schema, entry.body);
  if (!result.success) {
    const [issue] = result.issues;
    throw new PodtapError(
      `the journal's entry '${entry.path}' does not tell what to undo: ${v.getDotPath(issue) ?? 'body'}: ${issue.message}`,
      {
        code: 'ERR_JOURNAL_UNREADABLE',
        path: entry.path,
      },
    );
  }
  const { images, main, inode, kept, joins, joined, then } = result.output;
  return {
    images: imagesOf(images),
    main,
    inode,
    kept: kept as Value,
    joins,
    joined,
    then: then === undefined ? undefined : imagesOf(then),
  };
}

export function isReadable(entry: Parameters<typeof recordOf>[0]): boolean {
  try {
    recordOf(entry);
    return true;
  } catch {
    return false;
  }
}

function imagesOf({ touched, additions, orders }: v.InferOutput<typeof imagesSchema>): Images {
  const images = new Images();
  for (const [name, before, after] of touched) images.touch(name, before as Value, after as 'any' | Value[]);
  for (const [name, known] of additions) images.additions.set(name, known);
  for (const [group, order] of orders) images.orders.set(group, order);
  return images;
}
