// What callers may pass.
import { array, oneOf, optional, options, text } from '../check.js';
import type { Backend } from './backend.js';
import { parseServices } from './services.js';

export interface LocalhostOptions {
  /**
   * What is reachable, and nothing else: '127.0.0.1:8080/tcp', '127.0.0.1:9000-9010/tcp', '127.0.0.11:53/udp+tcp', and 'docker-dns': Docker's
   * resolver, whose real ports are found, and followed when they change.
   */
  readonly services: readonly string[];
  /** Default: 'ebpf' where programs can be loaded and attached, else 'nft'. */
  readonly backend?: Backend;
}

export const localhostOptions = options({ services: array(text), backend: optional(oneOf('ebpf', 'nft')) });

export interface LocalhostAsked {
  /** In their one form and order. */
  readonly services: readonly string[];
  readonly backend?: Backend;
}

/** Of options that were checked. @throws TypeError ERR_INVALID_ARG_VALUE */
export function localhostAsked({ services, backend }: LocalhostOptions, where: string): LocalhostAsked {
  return { services: parseServices(services, where).map(({ name }) => name), ...(backend !== undefined && { backend }) };
}
