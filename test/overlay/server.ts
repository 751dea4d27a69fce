// Debian's etcd, in the namespace of the test file, with a data directory of its own.
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Test } from 'tap';
import { until } from '../support/inside.js';

export interface Server {
  readonly url: string;
  /** kill -9, and gone. */
  kill(): Promise<void>;
  /** With the data that it had. */
  start(): Promise<void>;
  /** A request to its gateway, by hand. */
  ask(path: string, body: object): Promise<Record<string, never>>;
  put(key: string, value: string, lease?: string): Promise<void>;
  get(key: string): Promise<{ readonly value: string; readonly lease: string } | undefined>;
  keys(): Promise<string[]>;
  delete(key: string): Promise<void>;
  /** Forgets the past up to now. */
  compact(): Promise<void>;
}

export const PREFIX = '/coreos.com/network';
let ports = 2379;

export async function etcd(
  t: Test,
  options: { readonly scheme?: 'http' | 'https'; readonly args?: readonly string[] } = {},
): Promise<Server> {
  const { scheme = 'http', args = [] } = options;
  const directory = mkdtempSync(join(tmpdir(), 'podtap-etcd-'));
  const [port, peers] = [ports++, 12_380 + ports];
  const url = `${scheme}://127.0.0.1:${port}`;
  let child: ChildProcess | undefined;
  const start = async (): Promise<void> => {
    child = spawn(
      'setpriv',
      [
        ...['--pdeathsig', 'KILL', 'etcd'], // so that it goes with a test that is killed
        ...['--name', 'one', '--data-dir', `${directory}/data`, '--logger', 'zap', '--log-level', 'error'],
        ...['--listen-client-urls', url, '--advertise-client-urls', url, '--listen-peer-urls', `http://127.0.0.1:${peers}`],
        ...['--initial-advertise-peer-urls', `http://127.0.0.1:${peers}`, '--initial-cluster', `one=http://127.0.0.1:${peers}`],
        ...args,
      ],
      { stdio: ['ignore', 'ignore', 'inherit'] },
    );
    const answers = (): Promise<boolean> => fetch(`${url}/health`, { headers: { connection: 'close' } }).then(({ ok }) => ok, () => false); // prettier-ignore
    if (scheme === 'http' && !(await until(answers, 20_000))) throw new Error('etcd does not answer');
  };
  const kill = async (): Promise<void> => {
    if (child === undefined) return;
    const ended = new Promise((resolve) => child!.on('close', resolve));
    child.kill('SIGKILL');
    await ended;
    child = undefined;
  };
  const ask = async (path: string, body: object): Promise<Record<string, never>> => {
    const response = await fetch(`${url}${path}`, { method: 'POST', body: JSON.stringify(body), headers: { connection: 'close' } });
    const answer = (await response.json()) as Record<string, never>;
    if (!response.ok) throw new Error(`${path}: ${JSON.stringify(answer)}`);
    return answer;
  };
  t.teardown(async () => {
    await kill();
    rmSync(directory, { recursive: true, force: true });
  });
  await start();
  return {
    url,
    kill,
    start,
    ask,
    put: async (key, value, lease) =>
      void (await ask('/v3/kv/put', { key: encode(key), value: encode(value), ...(lease !== undefined && { lease }) })),
    get: async (key) => {
      const { kvs } = (await ask('/v3/kv/range', { key: encode(key) })) as { kvs?: { value: string; lease?: string }[] };
      const found = kvs?.[0];
      return found === undefined ? undefined : { value: Buffer.from(found.value, 'base64').toString(), lease: found.lease ?? '0' };
    },
    keys: async () => {
      const { kvs } = (await ask('/v3/kv/range', { key: encode(`${PREFIX}/subnets/`), range_end: encode(`${PREFIX}/subnets0`), keys_only: true })) as { kvs?: { key: string }[] }; // prettier-ignore
      return (kvs ?? []).map(({ key }) =>
        Buffer.from(key, 'base64')
          .toString()
          .slice(PREFIX.length + 9),
      );
    },
    delete: async (key) => void (await ask('/v3/kv/deleterange', { key: encode(key) })),
    compact: async () => {
      const { header } = (await ask('/v3/kv/range', { key: encode('none') })) as unknown as { header: { revision: string } };
      await ask('/v3/kv/compaction', { revision: header.revision, physical: true });
    },
  };
}

function encode(text: string): string {
  return Buffer.from(text).toString('base64');
}

/** The network's description, as an administrator writes it. */
export function config(more: object = {}, backend: object = {}): string {
  return JSON.stringify({ Network: '10.244.0.0/16', ...more, Backend: { Type: 'vxlan', ...backend } });
}

/** What flanneld writes of a node. */
export function flannel(publicIp: string, mac: string, more: object = {}): string {
  return JSON.stringify({ PublicIP: publicIp, PublicIPv6: null, BackendType: 'vxlan', BackendData: { VNI: 1, VtepMAC: mac }, ...more });
}
