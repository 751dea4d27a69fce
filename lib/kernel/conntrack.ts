// The table of connections of a namespace, by ctnetlink.
import { NetlinkError, UnsupportedError } from '../errors.js';
import { native } from '../native.js';
import { type Connection, type ConnectionTuple, decodeConnection, encodeConnectionGet } from '../wire/conntrack.js';
import { NETLINK_NETFILTER } from '../wire/nft/numbers.js';
import { request } from './netlink.js';
import { type Scope, attachment } from './netns.js';
import { system } from './system.js';

export type { Connection, ConnectionTuple };

/**
 * The connection to which a packet belongs, in either direction; of the zone 0. Like `conntrack -G`. undefined: there is none.
 * @throws UnsupportedError: the kernel has no ctnetlink; NetlinkError EPERM: CAP_NET_ADMIN is missing
 */
export async function findConnection(scope: Scope, tuple: ConnectionTuple): Promise<Connection | undefined> {
  const socket = await system(native().netlinkOpen(attachment(scope).netns, NETLINK_NETFILTER, {}));
  try {
    const [answer] = await request(socket, [encodeConnectionGet(tuple)]);
    return decodeConnection(answer!.from, answer!.messages[0]!);
  } catch (error) {
    if (!(error instanceof NetlinkError)) throw error;
    if (error.code === 'ENOENT') return undefined;
    // nfnetlink says so of a subsystem that it does not have.
    if (!['EOPNOTSUPP', 'EPROTONOSUPPORT'].includes(error.code)) throw error;
    throw new UnsupportedError("this kernel does not tell of its connections: it needs CONFIG_NF_CT_NETLINK, or the module nf_conntrack_netlink", { feature: 'ctnetlink', config: 'CONFIG_NF_CT_NETLINK', cause: error }); // prettier-ignore
  } finally {
    native().close(socket);
  }
}
