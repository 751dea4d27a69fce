import { addonDirectory } from '../native.js';

/** A program that is built with the addon and stands beside it. */
export function helperPath(name: 'podtap-launcher' | 'podtap-unprivileged'): string {
  return `${addonDirectory()}/${name}`;
}
