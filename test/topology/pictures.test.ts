// The README's pictures are what the code draws of the scenes.
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { drawPictures } from '../../examples/pictures.js';
import { requires } from '../support/requires.js';
import { root } from '../support/root.js';

const skip = requires('tun', 'bridge', 'vxlan');
const folder = join(root, 'examples/pictures');

await t.test('drawn anew, they are the same, byte for byte: else run `npm run pictures`', { skip }, async (t) => {
  const drawn = await drawPictures();
  t.strictSame(Object.keys(drawn).sort(), readdirSync(folder).sort());
  for (const [name, svg] of Object.entries(drawn)) t.equal(svg, readFileSync(join(folder, name), 'utf8'), name);
});

await t.test('the README shows them all', async (t) => {
  const readme = readFileSync(join(root, 'README.md'), 'utf8');
  for (const name of readdirSync(folder)) t.match(readme, new RegExp(`\\(examples/pictures/${name}\\)`));
});
