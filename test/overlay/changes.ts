// Requests that change something, as they go to the kernel.
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { typeName } from '../../lib/wire/families.js';
import { pause } from '../support/inside.js';

/** Names of those that were sent while `work` ran, and for a moment after it. */
export async function changesOf(work: () => unknown): Promise<readonly string[]> {
  const names: string[] = [];
  const count = (message: unknown): void => {
    const { messages } = message as { messages: Uint8Array };
    const view = new DataView(messages.buffer, messages.byteOffset, messages.byteLength);
    for (let at = 0; at < messages.length; at += (view.getUint32(at, true) + 3) & ~3) {
      const name = typeName(view.getUint16(at + 4, true));
      if (!name.startsWith('RTM_GET')) names.push(name);
    }
  };
  subscribe('podtap:netlink', count);
  try {
    await work();
    await pause(100);
  } finally {
    unsubscribe('podtap:netlink', count);
  }
  return names;
}
