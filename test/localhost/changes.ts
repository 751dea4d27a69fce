// Steps that a plumbing can take, each from a state in which it can.
import { type Plumbing, exposeLocalhost } from 'podtap';

type Change = (net: Plumbing, backend: 'ebpf' | 'nft') => Promise<unknown>;

export const SERVICES = ['127.0.0.1:8080/tcp', '127.0.0.9:53/udp'];

export const changes: Readonly<Record<string, Change>> = {
  expose: (net, backend) => exposeLocalhost(net, { services: SERVICES, backend }),
  /** Other services than `expose`. */
  'expose others': (net, backend) => exposeLocalhost(net, { services: ['127.0.0.1:9090/tcp'], backend }),
  add: (net) => net.addGuest({ name: 'web', tap: 'tap7', ports: ['80/tcp', '5000-5010/udp'] }),
  remove: (net) => net.removeGuest('web'),
};

/** What must have been done before each. */
export const needs: Readonly<Record<string, readonly string[]>> = {
  expose: [],
  'expose others': ['expose'],
  add: ['expose'],
  remove: ['expose', 'add'],
};
