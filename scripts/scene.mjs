// npm run scene 3: runs examples/scene-3-*.ts, compiled, in user, network and mount namespaces of its own: whatever a scene does, it
// does not do it to this machine.
import { spawn } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { prepare } from './prepare.mjs';
import { main, root } from './steps.mjs';

await main(async () => {
  const [number, ...rest] = process.argv.slice(2);
  await prepare();
  const folder = join(root, 'dist/examples');
  const scenes = existsSync(folder) ? readdirSync(folder).filter((file) => /^scene-\d+-.*\.js$/.test(file)) : [];
  const scene = scenes.find((file) => file.startsWith(`scene-${number}-`));
  if (scene === undefined) {
    const known = scenes.map((file) => file.replace(/^scene-(\d+)-(.*)\.js$/, '  $1  $2')).sort((a, b) => parseInt(a) - parseInt(b));
    console.error(`usage: npm run scene <number>\n${known.join('\n')}`);
    return 2;
  }
  const program = ['--enable-source-maps', join(folder, scene), ...rest];
  // A macvtap's character device is opened by root of the machine alone: in a namespace of its own, but of no user namespace.
  const child = scene.includes('macvtap')
    ? spawn('unshare', ['--net', process.execPath, ...program], { stdio: 'inherit' })
    : spawn(process.execPath, ['--import', pathToFileURL(join(root, 'dist/bundle/unprivileged.js')).href, ...program], {
        stdio: 'inherit',
      });
  return await new Promise((resolve) => child.on('close', (code) => resolve(code ?? 1)));
});
