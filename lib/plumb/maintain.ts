// Somebody who listens, and mends: where no program in the kernel does it, a pod whose TAP is gone has its network back by this alone.
import * as v from 'valibot';
import { abortSignal, boolean, check, optional, options } from '../check.js';
import { PlumbError } from '../errors.js';
import type { Problem } from '../primitive/host.js';
import type { UndoReport } from '../transaction/recover.js';
import type { PlumbingEvent } from './events.js';

export interface MaintainOptions {
  /** Every event, before what is done about it. What it throws ends the maintenance. */
  readonly onEvent?: (event: PlumbingEvent) => void;
  /** Default true: when the TAP is gone, the plumbing is undone, and the pod has all that it had. false: only what keeps its network from it is taken away. */
  readonly undo?: boolean;
  readonly signal?: AbortSignal;
}

const schema = options({
  onEvent: optional(v.custom<(event: PlumbingEvent) => void>((value) => typeof value === 'function', 'must be a function')),
  undo: optional(boolean),
  signal: optional(abortSignal),
});

interface Maintained {
  events(settings: { readonly signal?: AbortSignal }): AsyncIterable<PlumbingEvent>;
  repair(): Promise<readonly Problem[]>;
  undo(): Promise<UndoReport>;
}

/** What fails for a passing reason, such as a lack of memory, is tried so often. */
const TRIES = 5;
const BETWEEN = 200; // milliseconds

export async function maintain(net: Maintained, settings: MaintainOptions): Promise<'aborted' | 'gone'> {
  const { onEvent, undo = true, signal } = check(schema, settings, 'maintain');
  for await (const event of net.events(signal === undefined ? {} : { signal })) {
    onEvent?.(event);
    if (event.type === 'broken') await patiently(() => net.repair());
    if (event.type !== 'gone') continue;
    if (undo) await patiently(() => net.undo());
    return 'gone';
  }
  return 'aborted';
}

async function patiently(work: () => Promise<unknown>): Promise<void> {
  for (let left = TRIES - 1; ; left--) {
    try {
      return void (await work());
    } catch (error) {
      // Somebody undoes it meanwhile, or an interface goes: that it is gone is told next.
      if (error instanceof PlumbError && (error.code === 'ERR_PLUMB_CONFLICT' || errnoOf(error) === 'ENODEV')) return;
      if (!(error instanceof PlumbError && error.transient) || left === 0) throw error;
      await new Promise((resolve) => setTimeout(resolve, BETWEEN));
    }
  }
}

/** Of what the kernel refused. */
function errnoOf({ code, cause }: PlumbError): unknown {
  return code === 'ENODEV' ? code : (cause as { code?: unknown } | undefined)?.code;
}
