// A runtime's loop: what becomes of a plumbing, and what is to be done about it.
import type { Plumbing } from 'podtap';

export async function supervise(
  net: Plumbing,
  hooks: { readonly restart: () => Promise<void>; readonly log: (line: string) => void },
  signal: AbortSignal,
): Promise<void> {
  for await (const event of net.events({ signal })) {
    switch (event.type) {
      case 'detached':
        await hooks.restart();
        break;
      case 'changed':
        hooks.log(`${event.what} changed: ${event.guest.mtu}`);
        break;
      case 'broken':
        hooks.log(event.problem.code);
        await net.repair();
        break;
      case 'gone':
        hooks.log('gone');
        return;
      case 'attached':
      case 'repaired':
      case 'overrun':
        hooks.log(event.type);
        break;
      default:
        event satisfies never;
    }
  }
}
