// The same as oracle.test.ts, by redirect.
process.env.PLUMB_MODE = 'redirect';
await import('./primed.js');
await import('./oracle.test.js');
