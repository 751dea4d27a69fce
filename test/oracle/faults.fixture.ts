// Run by faults.test.ts: changes of all three sorts, in the namespace of the path that it is given, until it is killed.
import { Netns } from 'podtap';
import { changeEverything } from './changes.js';
import { installFaultsOfEnvironment } from './faults.js';

const netns = await Netns.open(process.argv[2]!);
installFaultsOfEnvironment();
await changeEverything(netns);
await netns.close();
