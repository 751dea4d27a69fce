import type { Netns } from '../kernel/netns.js';

/** Where a primitive acts. */
export type Scope = Netns;

export type Family = 'ipv4' | 'ipv6';
