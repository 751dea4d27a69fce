// /proc/sys/net of a namespace. The directories are opened by a thread inside it and work from anywhere after that.
import { PodtapError, invalidArgument } from '../errors.js';
import { type Descriptor, native } from '../native.js';
import { errnoCode } from '../wire/errno.js';
import { pass } from './gate.js';
import { type Scope, attachment } from './netns.js';
import { system } from './system.js';

/** Where a key lives: 'net.ipv4.conf.eth0/1.rp_filter' is conf/eth0.1/rp_filter in the directory ipv4. As in sysctl(8), a dot of an interface's name is written as '/'. */
export function sysctlPath(key: string): { directory: string; path: string } {
  const parts = key.split('.').map((part) => part.replaceAll('/', '.'));
  const [net, directory, ...rest] = parts;
  if (net !== 'net' || directory === undefined || rest.length === 0 || parts.some((part) => !/^[^\0]+$/.test(part) || /^\.+$/.test(part))) {
    throw invalidArgument(
      'ERR_INVALID_ARG_VALUE',
      `a sysctl key must look like 'net.ipv4.conf.eth0.rp_filter', with '/' for a dot in an interface's name; received '${key}'`,
    );
  }
  return { directory, path: rest.join('/') };
}

export async function readSysctl(scope: Scope, key: string): Promise<string> {
  const { directory, path } = sysctlPath(key);
  const value = await withDirectory(scope, key, directory, (opened) =>
    pass(`read ${key}`, () => native().sysctlRead(opened, path), { syscall: 'read', path }),
  );
  return value.replace(/\n$/, '');
}

export async function writeSysctl(scope: Scope, key: string, value: string): Promise<void> {
  const { directory, path } = sysctlPath(key);
  await withDirectory(scope, key, directory, (opened) =>
    pass(`write ${key}`, () => native().sysctlWrite(opened, path, value), { syscall: 'write', path }),
  );
}

async function withDirectory<T>(scope: Scope, key: string, name: string, act: (directory: Descriptor) => Promise<T>): Promise<T> {
  const { netns: descriptor, sysctl } = attachment(scope);
  const directory = sysctl.get(name) ?? native().sysctlOpen(descriptor, name);
  sysctl.set(name, directory);
  return system(
    directory.then(act).catch((error: unknown) => {
      directory.catch(() => sysctl.delete(name)); // an open that failed is tried again
      throw error;
    }),
    (failure) => {
      const why = reasons[errnoCode(failure.errno)];
      if (why === undefined) return undefined;
      const code = errnoCode(failure.errno);
      return new PodtapError(`${code}: sysctl '${key}': ${why}`, {
        code,
        errno: -failure.errno,
        syscall: failure.syscall,
        path: failure.path,
      });
    },
  );
}

const reasons: Readonly<Record<string, string>> = {
  ENOENT: 'there is no such interface in this namespace, or this kernel has no such setting',
  EROFS: '/proc/sys is mounted read-only here, as in a container; mount it writable, or set it from outside',
  EINVAL: 'the kernel does not take this value',
};
