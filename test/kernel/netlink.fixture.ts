// Run by netlink.test.ts: one request that succeeds, one that the kernel refuses.
import { Netns, createBridge, getLink } from 'podtap';

const netns = await Netns.create();
await getLink(netns, 'lo');
await createBridge(netns, 'lo').catch((error: Error & { code?: string }) => console.log(error.code));
await netns.close();
