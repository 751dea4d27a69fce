import { check, integer, text } from '../check.js';
import * as v from 'valibot';
import * as kernel from '../kernel/sysctl.js';
import { run } from '../operation/run.js';
import type { Scope } from './scope.js';

/**
 * Reads a setting of the namespace's /proc/sys/net, IPv4 or IPv6, from wherever the program runs.
 *
 * Like `sysctl -n KEY`: 'net.ipv4.conf.eth0.rp_filter'; a dot in an interface's name is written as '/' ('net.ipv4.conf.eth0/1.rp_filter').
 * @throws PodtapError ENOENT: there is no such interface or setting
 */
export async function readSysctl(scope: Scope, key: string): Promise<string> {
  return kernel.readSysctl(scope, check(text, key, 'readSysctl'));
}

/**
 * Sets one.
 *
 * Like `sysctl -w KEY=VALUE`.
 * @throws PodtapError ENOENT, EINVAL; EROFS: /proc/sys is mounted read-only, as in a container
 */
export async function setSysctl(scope: Scope, key: string, value: string | number): Promise<void> {
  const given = check(v.union([text, integer(-0x80000000, 0xffffffff)], 'must be a string or an integer'), value, 'setSysctl');
  await run(scope, 'setSysctl', [{ op: 'sysctl.set', key, value: String(given) }]);
}
