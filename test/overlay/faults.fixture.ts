// Run by faults.test.ts: joins, in the namespace of the path that it is given, until it is killed.
import { Netns } from 'podtap';
import { joinOverlay, nodeList } from 'podtap/overlay';
import { installFaultsOfEnvironment } from '../oracle/faults.js';
import { two } from './nodes.js';

const node = await Netns.open(process.argv[2]!);
installFaultsOfEnvironment();
const overlay = await joinOverlay(node, { registry: nodeList(two), bridge: true });
await overlay.keep();
await node.close();
