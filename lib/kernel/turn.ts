// Taking turns on the JavaScript thread. Two hundred pods at once are no reason for a timer or a request of the program to wait for all
// of them: what is resumed in one iteration of the event loop ends after a while, and the rest is resumed in the next ones.

/** Of work of ours in one iteration, in milliseconds, before others are let in; the work that is under way then adds its own length. */
const SLICE = 1;

const waiting: (() => void)[] = [];
/** When the work of this iteration began. */
let began: number | undefined;

/** Resolves at once where there is time left in this iteration, and nobody waits; else in turn. Before each longer stretch of work. */
export async function turn(): Promise<void> {
  const now = performance.now();
  if (began === undefined) {
    began = now;
    setImmediate(nextIteration);
  }
  if (waiting.length === 0 && now - began < SLICE) return;
  await new Promise<void>((resolve) => waiting.push(resolve));
}

function nextIteration(): void {
  began = undefined;
  resumeNext();
}

function resumeNext(): void {
  const resume = waiting.shift();
  if (resume === undefined) return;
  if (began === undefined) {
    began = performance.now();
    setImmediate(nextIteration);
  } else if (performance.now() - began >= SLICE) {
    waiting.unshift(resume); // nextIteration is on its way
    return;
  }
  resume();
  // Ticks are run when no microtask is left: when what was resumed waits for something else again.
  queueMicrotask(() => process.nextTick(resumeNext));
}

/**
 * Of namespaces that are worked on at once. The kernel changes one at a time (RTNL), so that more would only wait for each other there, and
 * what they have read meanwhile is what makes a garbage collection long: with 200 at once, 10 ms and more.
 */
const MOST = 8;
let seats = MOST;
const queue: (() => void)[] = [];

/** Runs it when there is a seat. It must not wait for what needs a seat: no lock of a namespace is taken in it. */
export async function seated<T>(work: () => Promise<T>): Promise<T> {
  if (seats > 0) seats--;
  else await new Promise<void>((resolve) => queue.push(resolve));
  try {
    return await work();
  } finally {
    const next = queue.shift();
    if (next === undefined) seats++;
    else next();
  }
}
