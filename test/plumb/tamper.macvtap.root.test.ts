// The same as tamper.test.ts, by macvtap, which is for real root. A third of the random pods.
process.env.PLUMB_MODE = 'macvtap';
process.env.RUNS ??= '0.34';
await import('./primed.js');
await import('./tamper.test.js');
