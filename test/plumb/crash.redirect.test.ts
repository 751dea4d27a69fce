// The same as crash.test.ts, by redirect.
process.env.PLUMB_MODE = 'redirect';
await import('./primed.js');
await import('./crash.test.js');
