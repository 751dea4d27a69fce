import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import t from 'tap';
import { root } from '../support/root.js';

// On another OS there is no kernel to ask: types and pure code can be imported all the same, and the first call says what is wrong.

const program = `
  Object.defineProperty(process, 'platform', { value: 'darwin' });
  const { Netns, UnsupportedError, checkHost } = await import(${JSON.stringify(pathToFileURL(join(root, 'dist/lib/index.js')))});
  for (const call of [() => Netns.create(), () => Netns.current(), () => Netns.list(), () => Netns.delete('a'), () => checkHost()]) {
    const error = await call().then(() => undefined, (error) => error);
    console.log(error instanceof UnsupportedError && error.code === 'ERR_UNSUPPORTED' && error.feature === 'linux' && error.message);
  }
  const mistake = await Netns.open({ pidd: 1 }).catch((error) => error);
  console.log(mistake.code);
`;

await t.test('importing works, the first call that needs the kernel throws a typed error', async (t) => {
  const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '--eval', program], { encoding: 'utf8' });
  t.equal(stdout, `${'podtap needs Linux; this is darwin\n'.repeat(5)}ERR_INVALID_ARG_VALUE\n`, { stderr });
});
