// Run by ledger.test.ts: leaves behind what its first argument names.
import { spawn, spawnSync } from 'node:child_process';
import { openSync } from 'node:fs';

const leaks: Record<string, () => void> = {
  nothing: () => undefined,
  descriptor: () => void openSync('/proc/self/ns/net', 'r'),
  child: () => spawn('sleep', ['3'], { stdio: 'ignore' }).unref(),
  link: () => void spawnSync('ip', ['link', 'add', 'leaked0', 'type', 'bridge']),
  namespace: () => void spawnSync('ip', ['netns', 'add', 'leaked']),
};

leaks[process.argv[2] ?? '']?.();
