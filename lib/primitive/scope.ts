import type { Netns } from '../kernel/netns.js';
import type { Runner } from '../operation/run.js';

/** Where a primitive acts: a namespace, or a transaction over one. */
export type Scope = Netns | Runner;

export type Family = 'ipv4' | 'ipv6';
