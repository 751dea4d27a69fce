// The pod's localhost for the guests of a plumbing that is there.
import { abortSignal, check, instance, optional, options } from '../../check.js';
import { type LocalhostOptions, localhostAsked, localhostOptions } from '../../localhost/asked.js';
import { localhostStep } from './carry.js';
import type { ExposedLocalhost } from './localhost.js';
import { Plumbing, steps } from '../plumbing.js';

/**
 * Lets the guests of a plumbing reach services on the pod's localhost, and nothing else of 127.0.0.0/8: Docker's resolver ('docker-dns'),
 * sidecars ('127.0.0.1:8080/tcp', ranges too). A guest cannot dial 127.0.0.1 itself: it dials addresses that stand for it, chosen at run time against
 * everything in the namespace, and the same ones again for the same label. The resolver's is put into `plumbing.guest.dns`. Nobody outside the
 * pod reaches its localhost by it, and the guest only from its own addresses.
 *
 * It belongs to the plumbing from then on: undone, recovered, verified and repaired with it. Called again with the same services it changes nothing;
 * with others, these are exposed instead, at the same addresses where they were exposed before. Services are IPv4: [::1] is the one
 * loopback address of IPv6, so that there are none to translate to.
 *
 * @returns what the guest dials, and by what it is carried, with the reason
 * @throws PlumbError ERR_PLUMB_NO_RESOLVER, ERR_PLUMB_CONFLICT; UnsupportedError: neither eBPF programs nor nftables can be had, or it is
 *   a macvtap; TypeError ERR_INVALID_ARG_*
 * @example
 * const { services } = await exposeLocalhost(net, { services: ['docker-dns', '127.0.0.1:8080/tcp'] });
 * console.log(services, net.guest.dns); // start the monitor after this: the guest must be told
 */
export async function exposeLocalhost(
  plumbing: Plumbing,
  settings: LocalhostOptions & { readonly signal?: AbortSignal },
): Promise<ExposedLocalhost> {
  check(instance(Plumbing as never, 'a Plumbing, from plumb() or openPlumbing()'), plumbing, 'exposeLocalhost');
  const { signal, ...given } = check(schema, settings, 'exposeLocalhost');
  const asked = localhostAsked(given, 'exposeLocalhost');
  await plumbing[steps]((netns, record) => localhostStep(netns, record, { asked }), signal);
  return plumbing.localhost!;
}

const schema = options({ ...localhostOptions.entries, signal: optional(abortSignal) });
