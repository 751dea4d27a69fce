// Before `npm pack`: the binaries go into the tarball, so that nothing is compiled where it is installed.
import { chmodSync, copyFileSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { binaries, prepare } from './prepare.mjs';
import { main, root } from './steps.mjs';

await main(async () => {
  await prepare();
  const folder = join(root, 'prebuilds', `${process.platform}-${process.arch}`);
  mkdirSync(folder, { recursive: true });
  for (const file of binaries) {
    copyFileSync(join(root, 'build/Release', file), join(folder, file));
    chmodSync(join(folder, file), 0o755);
  }
});
