/// <reference lib="esnext.disposable" preserve="true" />
// An entry point of its own: only who draws needs Graphviz (@viz-js/viz, an optional peer dependency: 1.4 MB of WebAssembly).
import { instance } from '@viz-js/viz';
import type { DrawOptions } from './picture.js';
import type { Topology } from './read.js';
import { dot } from './text.js';

/** One picture of several that stand side by side: before and after, say. */
export interface Drawn extends DrawOptions {
  readonly topology: Topology;
}

/**
 * Draws one topology, or several side by side, as SVG, by Graphviz. The same topology gives the same picture, byte for byte, as long as
 * the version of Graphviz is the same.
 *
 * @example await writeFile('wiring.svg', await drawSvg([{ topology: before, title: 'before' }, { topology: after, title: 'after', path: trace }]))
 */
export async function drawSvg(pictures: Drawn | readonly Drawn[]): Promise<string> {
  const all = (Array.isArray(pictures) ? pictures : [pictures]) as readonly Drawn[];
  const graphviz = await instance();
  return graphviz.renderString(dot(all.map(({ topology, ...options }) => ({ topology, options }))), { format: 'svg' });
}
