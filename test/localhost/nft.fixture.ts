// Run by nft-table.test.ts: in the namespace of a path, a transaction that makes the table, makes it anew and fails; killed where ORACLE_FAULTS says.
import { Netns, transaction } from 'podtap';
import type { LocalhostConfig } from '../../lib/localhost/config.js';
import { run } from '../../lib/operation/run.js';
import { installFaultsOfEnvironment } from '../oracle/faults.js';

const [path = '', journal = '', json = '{}'] = process.argv.slice(2);
const config = JSON.parse(json) as LocalhostConfig;
const netns = await Netns.open(path);
installFaultsOfEnvironment();
const end = new Error('the end');
await transaction(
  netns,
  async (tx) => {
    await run(tx, 'fixture', [{ op: 'localhost.nft', config }]);
    await run(tx, 'fixture', [
      { op: 'localhost.nft', config: { ...config, services: [] } },
      {
        op: 'filter.add',
        link: 'eth0',
        filter: {
          parent: 'ffff:',
          protocol: 'all',
          priority: 7,
          handle: '::1',
          kind: 'u32',
          options: { selector: { flags: ['terminal'], keys: [{ mask: 0, value: 0, offset: 0 }] }, classid: '1:1' },
        },
      },
    ]);
    throw end;
  },
  { journal },
).catch((error: unknown) => {
  if ((error as Error).cause !== end) throw error;
});
await netns.close();
