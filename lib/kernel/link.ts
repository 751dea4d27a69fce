import { NetlinkError, PodtapError } from '../errors.js';
import { type Link, decodeLink, encodeLinkGet } from '../wire/link.js';
import { request } from './netlink.js';
import { type Scope, attachment } from './netns.js';

/** One link by name, altname or ifindex; undefined where there is none. */
export async function findLink(scope: Scope, link: string | number): Promise<Link | undefined> {
  try {
    const [answer] = await request(attachment(scope).socket, [encodeLinkGet(link)]);
    return decodeLink(answer!.from, answer!.messages[0]!);
  } catch (error) {
    if (error instanceof NetlinkError && error.code === 'ENODEV') return undefined;
    throw error;
  }
}

/**
 * The indexes of links by name, in one trip.
 * @throws PodtapError ENODEV, naming the one that is not there
 */
export async function findIndexes(scope: Scope, names: readonly string[]): Promise<ReadonlyMap<string, number>> {
  try {
    const answers = await request(attachment(scope).socket, names.map(encodeLinkGet));
    return new Map(answers.map(({ from, messages: [message] }, index) => [names[index]!, decodeLink(from, message!).ifindex]));
  } catch (error) {
    if (error instanceof NetlinkError && error.code === 'ENODEV') throw noLink(names[error.index]!);
    throw error;
  }
}

export function noLink(link: string | number): PodtapError {
  return new PodtapError(
    `ENODEV: there is no interface ${typeof link === 'number' ? `with index ${link}` : `'${link}'`} in this namespace`,
    { code: 'ENODEV', errno: -19, syscall: 'RTM_GETLINK' },
  );
}
