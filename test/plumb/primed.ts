// What plumb tries out once in a process is not to be among the requests that fail.
import { planPlumbing } from 'podtap';
import { build } from '../oracle/pod.js';
import { richPod, wanted } from './around.js';

await using built = await build(richPod);
await planPlumbing(built.netns, wanted);
