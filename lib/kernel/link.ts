import { NetlinkError } from '../errors.js';
import { type Link, decodeLink, encodeLinkGet } from '../wire/link.js';
import { request } from './netlink.js';
import { type Netns, attachment } from './netns.js';

/** One link by name, altname or ifindex; undefined where there is none. */
export async function findLink(netns: Netns, link: string | number, statistics = false): Promise<Link | undefined> {
  try {
    const [answer] = await request(attachment(netns).socket, [encodeLinkGet(link, { statistics })]);
    return decodeLink(answer!.from, answer!.messages[0]!);
  } catch (error) {
    if (error instanceof NetlinkError && error.code === 'ENODEV') return undefined;
    throw error;
  }
}
