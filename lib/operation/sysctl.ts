import { text } from '../check.js';
import { type OperationKind, operation, words } from './operation.js';

export interface SysctlSet {
  readonly op: 'sysctl.set';
  /** 'net.ipv4.conf.eth0.rp_filter'; a dot in an interface's name is written as '/'. */
  readonly key: string;
  readonly value: string;
}

export const sysctlSet: OperationKind<SysctlSet> = {
  schema: operation('sysctl.set', { key: text, value: text }),
  links: () => [],
  requests: ({ key, value }) => [{ by: 'sysctl', key, value }],
  command: ({ key, value }) => words('sysctl', '-w', `${key}=${value}`),
};
