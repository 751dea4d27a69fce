// The sockets of a namespace, whoever has them: as ss(8) asks.
import { NetlinkError, UnsupportedError } from '../errors.js';
import { native } from '../native.js';
import { Bytes } from '../wire/bytes.js';
import { NETLINK_SOCK_DIAG, type SocketInfo, type SocketQuestion, decodeIsConnected, decodeSocket, encodeSocketDump, encodeSocketGet } from '../wire/diag.js'; // prettier-ignore
import { errnoCode, errnoMessage } from '../wire/errno.js';
import { decodeAck } from '../wire/error.js';
import { NLMSG_DONE, NLMSG_ERROR, eachMessage } from '../wire/message.js';
import { pass } from './gate.js';
import { type Scope, attachment } from './netns.js';
import { system } from './system.js';

export type { SocketInfo, SocketQuestion };

const tables = (['tcp', 'udp'] as const).flatMap((protocol) => (['ipv4', 'ipv6'] as const).map((family) => ({ protocol, family })));

/**
 * TCP and UDP sockets of both families, with the addresses and ports that they are bound to. Like `ss -atun`.
 * @throws UnsupportedError: the kernel has no inet_diag; NetlinkError
 */
export async function listSockets(scope: Scope): Promise<readonly SocketInfo[]> {
  const socket = await system(native().netlinkOpen(attachment(scope).netns, NETLINK_SOCK_DIAG, {}));
  try {
    const found: SocketInfo[] = [];
    // One request a trip: each answer tells only by its request of which protocol it is.
    for (const { protocol, family } of tables) {
      const request = encodeSocketDump(protocol, family);
      const act = () => native().netlinkRequest(socket, request);
      const { replies, errno } = await system(pass(`read ${protocol} sockets`, act, { syscall: 'SOCK_DIAG_BY_FAMILY' }));
      if (errno !== 0) throw refused(errno, protocol);
      const from = new Bytes(replies);
      eachMessage(from, from.u8.length, (message) => {
        if (message.type === NLMSG_DONE || message.type === NLMSG_ERROR) {
          const { errno: said } = decodeAck(from, message);
          // A kernel without IPv6 has none of its sockets.
          if (said !== 0 && family === 'ipv4') throw refused(said, protocol);
          return;
        }
        const one = decodeSocket(from, message, protocol);
        if (one !== undefined) found.push(one);
      });
    }
    return found;
  } finally {
    native().close(socket);
  }
}

/**
 * What would get a packet that came in: a socket that is connected to its sender, one that takes it from anybody, or none.
 * @throws UnsupportedError: the kernel has no inet_diag; NetlinkError
 */
export async function findSocket(scope: Scope, question: SocketQuestion): Promise<'connected' | 'open' | undefined> {
  const { protocol } = question;
  const socket = await system(native().netlinkOpen(attachment(scope).netns, NETLINK_SOCK_DIAG, {}));
  try {
    const { replies, errno } = await system(native().netlinkRequest(socket, encodeSocketGet(question)));
    if (errno !== 0) throw refused(errno, protocol);
    const from = new Bytes(replies);
    let found: 'connected' | 'open' | undefined;
    eachMessage(from, from.u8.length, (message) => {
      if (message.type === NLMSG_ERROR) {
        const { errno: said } = decodeAck(from, message);
        // ENOENT of the question itself is the answer that there is none; that there is no table of them, listSockets tells.
        if (said !== 0 && errnoCode(said) !== 'ENOENT') throw refused(said, protocol);
        return;
      }
      const connected = decodeIsConnected(from, message, protocol);
      if (connected !== undefined) found = connected ? 'connected' : 'open';
    });
    return found;
  } finally {
    native().close(socket);
  }
}

function refused(errno: number, protocol: string): Error {
  const code = errnoCode(errno);
  const error = new NetlinkError(`${code}: ${errnoMessage(errno)}, SOCK_DIAG_BY_FAMILY`, { code, errno: -errno, syscall: 'SOCK_DIAG_BY_FAMILY' }); // prettier-ignore
  if (code !== 'ENOENT') return error;
  const config = protocol === 'udp' ? 'CONFIG_INET_UDP_DIAG' : 'CONFIG_INET_TCP_DIAG';
  return new UnsupportedError(`this kernel does not tell which ${protocol.toUpperCase()} sockets a namespace has: it needs ${config}, or the module ${protocol}_diag`, { feature: `${protocol}_diag`, config, cause: error }); // prettier-ignore
}
