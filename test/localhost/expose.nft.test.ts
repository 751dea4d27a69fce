// As root of a user namespace.
import { requires } from '../support/requires.js';
import { exposes } from './exposes.js';

await exposes(
  'nft',
  ['redirect', 'bridge'],
  [
    ['nft delete table netdev "$(nft list tables netdev | sed -n "s/^table netdev //p")"', 'LOCALHOST_MISSING', true],
    ['nft flush chain netdev "$(nft list tables netdev | sed -n "s/^table netdev //p")" loopback', 'LOCALHOST_CHANGED', true],
    [
      'for pref in $(tc filter show dev tap0 ingress | sed -n "s/.*pref \\([0-9]*\\) u32.*7074:1.*/\\1/p" | sort -u); do tc filter delete dev tap0 ingress pref $pref; done',
      'LOCALHOST_MISSING',
      true,
    ],
  ],
  requires('tun', 'u32', 'nft'),
);
