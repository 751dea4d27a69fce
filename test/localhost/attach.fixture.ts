// Attaches the programs of the pod's localhost, and ends: `attach.fixture.js NETNS CONFIG`.
import { Netns } from 'podtap';
import { attachLocalhost } from '../../lib/kernel/localhost.js';
import type { LocalhostConfig } from '../../lib/localhost/config.js';

const [path = '', config = ''] = process.argv.slice(2);
await using netns = await Netns.open(path);
await attachLocalhost(netns, { config: JSON.parse(config) as LocalhostConfig, hook: 'tcx' });
