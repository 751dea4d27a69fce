// The same as tamper.test.ts, by redirect.
process.env.PLUMB_MODE = 'redirect';
await import('./primed.js');
await import('./tamper.test.js');
