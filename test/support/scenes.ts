import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { type Feature, requires } from './requires.js';
import { root } from './root.js';

/** What some need beyond the rest: a macvtap's character device only root of the machine may open; Docker's rules are set as dockerd sets them. */
const needs: Readonly<Record<string, readonly Feature[]>> = {
  'scene-2-macvtap.js': ['root', 'macvtap'],
  'scene-6-dockers-dns.js': ['iptables', 'nft'],
};

/** Every scene, run as a user would: it ends with 0 only if it showed what it must. */
export async function runScenes(skip: string | false = false): Promise<void> {
  const scenes = readdirSync(join(root, 'dist/examples')).filter((file) => /^scene-\d+-.*\.js$/.test(file));
  t.ok(scenes.length > 0);
  for (const scene of scenes) {
    await t.test(scene, { skip: skip || requires(...(needs[scene] ?? [])) }, async (t) => {
      const { status, stdout, stderr } = spawnSync(process.execPath, [join(root, 'dist/examples', scene)], {
        encoding: 'utf8',
        timeout: 120_000,
      });
      t.equal(status, 0, { stderr });
      t.match(stdout, /^Scene \d+ showed what it must\.$/m);
      t.notMatch(stdout, /^ {3}NO /m);
    });
  }
}
