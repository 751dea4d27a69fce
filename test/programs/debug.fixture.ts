// What a person runs who wonders: what is plumbed in the namespace of a process, and does it work?
import { Netns, inspect, openPlumbing } from 'podtap';

await using pod = await Netns.open({ pid: Number(process.argv[2]) });
const seen = await inspect(pod);
console.log(String(seen));
for (const { code, message, fix } of seen.problems) console.log(`${code}: ${message}; ${fix}`);
await using net = await openPlumbing(pod);
if (net !== undefined) console.log(JSON.stringify(await net.verify({ traffic: true })));
