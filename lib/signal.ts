// One AbortSignal out of several. AbortSignal.any() does it too, but Node.js 20 forgets such a signal, and a timeout in it, when a garbage
// collection comes by, and then it never fires.

/** Aborted when the first of them is, or after a time; `release` lets go of them. */
export function joined(
  signals: readonly (AbortSignal | undefined)[],
  milliseconds?: number,
): { readonly signal: AbortSignal; readonly isLate: () => boolean; release(): void } {
  const controller = new AbortController();
  const given = signals.filter((signal) => signal !== undefined);
  let late = false;
  const abort = (event: Event): void => controller.abort((event.target as AbortSignal).reason);
  for (const signal of given) {
    if (signal.aborted) controller.abort(signal.reason);
    else signal.addEventListener('abort', abort);
  }
  const end = (): void => {
    late = true;
    controller.abort();
  };
  const timer = milliseconds === undefined ? undefined : setTimeout(end, milliseconds);
  return {
    signal: controller.signal,
    isLate: () => late,
    release: () => {
      clearTimeout(timer);
      for (const signal of given) signal.removeEventListener('abort', abort);
    },
  };
}
