// podtap's own programs are known by what they are, whatever the kernel makes of them; others by the same name are not.
import t from 'tap';
import { type BpfObject, fromHex, loadObject, loadProgram } from '../../lib/kernel/bpf.js';
import { findOwnName, ownName, tagsOf } from '../../lib/kernel/own-program.js';
import { localhost } from '../../lib/kernel/programs/localhost.js';
import { redirect } from '../../lib/kernel/programs/redirect.js';
import { requires } from '../support/requires.js';

await t.test('by name and tag', { skip: requires('root') }, async (t) => {
  for (const object of [redirect, localhost] as const satisfies readonly BpfObject[]) {
    await using loaded = await loadObject(object);
    for (const [name, program] of Object.entries(loaded.programs)) {
      const { id, tag } = await program.info();
      t.equal(await ownName(program), name);
      t.equal(await findOwnName(id), name);
      t.equal(tagsOf((object as BpfObject).programs[name]!).includes(tag), true, `${name} ${tag}`);
    }
    // Another name, or one instruction more.
    const [[name, { instructions, relocations }]] = Object.entries((object as BpfObject).programs) as [[string, BpfObject['programs'][string]]]; // prettier-ignore
    const maps = [...new Set(relocations.map(({ map }) => map))];
    const code = { instructions: fromHex(instructions), relocations: relocations.flatMap(({ at, map }) => [at, maps.indexOf(map)]), maps: maps.map((map) => loaded.maps[map]!) }; // prettier-ignore
    await using same = await loadProgram(name, code);
    t.equal(await ownName(same), name);
    await using renamed = await loadProgram('podtap_another', code);
    t.equal(await ownName(renamed), undefined);
    // Which does the same, and begins with a register that is moved to itself.
    const before = Uint8Array.of(0xbf, 0x11, 0, 0, 0, 0, 0, 0);
    const instead = { ...code, instructions: Buffer.concat([before, code.instructions]), relocations: relocations.flatMap(({ at, map }) => [at + 1, maps.indexOf(map)]) }; // prettier-ignore
    await using longer = await loadProgram(name, instead);
    t.equal(await ownName(longer), undefined);
  }
  await t.rejects(findOwnName(0x7fff_fff0), { code: 'ENOENT' });
});
