// A runtime that dies: it plumbs the namespaces at these paths as vm/1, vm/2, ..., and is killed in the middle of the last one.
import { Netns, plumb } from 'podtap';
import { installGate } from '../../lib/kernel/gate.js';

const paths = process.argv.slice(2);
for (const [index, path] of paths.entries()) {
  const pod = await Netns.open(path);
  if (index === paths.length - 1) {
    let changes = 0;
    installGate((requests) => {
      const at = requests.findIndex((name) => /^RTM_(NEW|DEL|SET)|TUNSETIFF/.test(name) && ++changes === 6);
      return at < 0 ? undefined : { at, how: 'killed', errno: 0 };
    });
  }
  (await plumb(pod, { mode: 'bridge', label: `vm/${index + 1}` })).keep();
  await pod.close();
}
