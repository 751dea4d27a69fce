// npm run pictures: draws examples/pictures/*.svg from the scenes, in namespaces of their own.
import { join } from 'node:path';
import { prepare } from './prepare.mjs';
import { main, root, step } from './steps.mjs';

await main(async () => {
  await prepare();
  const unprivileged = ['--import', 'podtap/unprivileged'];
  await step('pictures drawn', process.execPath, [
    ...unprivileged,
    join(root, 'dist/examples/pictures.js'),
    join(root, 'examples/pictures'),
  ]);
});
