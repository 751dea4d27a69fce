// A runtime that was restarted: the plumbings of machines that live are taken over, the others undone, and what was interrupted, too.
import { Netns, type Plumbing, openPlumbing, recover } from 'podtap';

export async function takeOver(
  live: ReadonlySet<string>,
): Promise<{ mine: Map<string, Plumbing>; report: Awaited<ReturnType<typeof recover>> }> {
  const report = await recover({ label: /^vm\//, finished: 'keep' });
  const mine = new Map<string, Plumbing>();
  for (const { label = '', netns } of report.kept) {
    await using pod = await Netns.open(netns);
    const net = await openPlumbing(pod, { label });
    if (net === undefined) continue;
    if (live.has(label) && (await net.tap.holders()).length > 0) mine.set(label, net);
    else await net.undo();
  }
  return { mine, report };
}
