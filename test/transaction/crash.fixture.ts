// Run by crash.test.ts: writes to the journal in its first argument, and is killed where the others say.
import { openJournal } from '../../lib/transaction/journal.js';
import { type Call, entry, intercept } from './files.js';

const [directory = '', what, call, nth = '1'] = process.argv.slice(2);
const journal = await openJournal(directory);

if (what === 'busy') {
  let [written] = (await journal.entries()).entries;
  console.log('busy');
  for (let n = 1; ; n++) written = await journal.update(written!, { body: { n, text: 'x'.repeat((n * 997) % 30_000) } });
}

const [found] = (await journal.entries()).entries;
let seen = 0;
intercept((now: Call) => {
  if (now === call && ++seen === Number(nth)) process.kill(process.pid, 'SIGKILL');
}, 40);
if (what === 'write') await journal.write(entry('new'));
else if (what === 'update') await journal.update(found!, { state: 'applied', body: 'new' });
else await journal.remove(found!);
