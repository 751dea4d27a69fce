import { ESLint } from 'eslint';
import t from 'tap';

// The linter is what keeps the order of the rooms: show it a wrong import for each of the rules.

const eslint = new ESLint({
  // Rules with types need a file that exists; the order of the rooms needs only a name.
  overrideConfig: { languageOptions: { parserOptions: { projectService: false, program: null } } },
  ruleFilter: ({ ruleId }) => ruleId.startsWith('no-restricted-'),
});

async function messages(filePath: string, code: string): Promise<readonly string[]> {
  const results = await eslint.lintText(code, { filePath });
  return results.flatMap((result) => result.messages.map((message) => `${message.ruleId ?? 'syntax'}: ${message.message}`));
}

const refused = [
  ['lib/wire/link.ts', `import { x } from '../kernel/netlink.js';`],
  ['lib/wire/link.ts', `import type { X } from '../state/resource.js';`],
  ['lib/wire/link.ts', `export { x } from '../kernel/netlink.js';`],
  ['lib/wire/kinds/veth.ts', `import { x } from '../../kernel/netlink.js';`],
  ['lib/wire/link.ts', `import { readFile } from 'node:fs/promises';`],
  ['lib/wire/link.ts', `import { isIP } from 'net';`],
  ['lib/wire/link.ts', `import { isIP } from 'node:net';`],
  ['lib/wire/link.ts', `import { x } from '../check.js';`],
  ['lib/kernel/netlink.ts', `import { x } from '../primitive/tap.js';`],
  ['lib/kernel/netlink.ts', `import { spawn } from 'node:child_process';`],
  ['lib/kernel/netlink.ts', `import bindings from 'bindings';`],
  ['lib/state/snapshot.ts', `import { native } from '../native.js';`],
  ['lib/state/snapshot.ts', `const netlink = await import('../plumb/plumb.js');`],
  ['lib/localhost/plan.ts', `import { plumb } from '../plumb/plumb.js';`],
  ['lib/guest/qemu.ts', `import { join } from 'node:path';`],
  ['lib/lab/lab.ts', `import { spawn } from 'node:child_process';`],
  ['lib/lab/lab.ts', `const { spawn } = process.getBuiltinModule('node:child_process');`],
  ['lib/lab/lab.ts', `import { plumb } from '../index.js';`],
  ['lib/cni/main.ts', `import { plumb } from 'podtap';`],
  ['lib/cni/main.ts', `import { x } from '../cli/main.js';`],
  ['lib/values.ts', `import { x } from './wire/address.js';`],
  ['lib/native.ts', `import { x } from './kernel/netns.js';`],
  ['lib/index.ts', `import { native } from './native.js';`],
  ['lib/state/snapshot.ts', `import { createRequire } from 'node:module';`],
] as const;

const allowed = [
  ['lib/wire/link.ts', `import { x } from '../values.js'; import { y } from './bytes.js';`],
  ['lib/wire/kinds/veth.ts', `import { x } from '../../errors.js'; import { y } from '../link.js';`],
  ['lib/kernel/netlink.ts', `import { native } from '../native.js'; import { x } from '../wire/link.js'; import { y } from '../check.js';`],
  ['lib/kernel/netns.ts', `import { spawn } from 'node:child_process';`],
  ['lib/kernel/netns.ts', `const { spawn } = process.getBuiltinModule('node:child_process');`],
  ['lib/lab/unprivileged.ts', `import { spawnSync } from 'node:child_process';`],
  ['lib/plumb/datapath/bridge.ts', `import { x } from '../../localhost/plan.js'; import { y } from '../../state/snapshot.js';`],
  ['lib/cni/main.ts', `import { x } from '../plumb/plumb.js'; import { y } from '../trace/trace.js';`],
  ['lib/check.ts', `import { x } from './wire/text.js'; import { y } from './errors.js';`],
  ['lib/native.ts', `import { createRequire } from 'node:module'; import { x } from './errors.js';`],
  ['lib/index.ts', `export * from './plumb/plumb.js'; export * from './errors.js';`],
] as const;

await t.test('the linter refuses what is against the order of the rooms', async (t) => {
  for (const [file, code] of refused) t.match(await messages(file, code), [/^no-restricted-/], `${file}: ${code}`);
});

await t.test('and nothing else', async (t) => {
  for (const [file, code] of allowed) t.same(await messages(file, code), [], `${file}: ${code}`);
});
