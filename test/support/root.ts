import { fileURLToPath } from 'node:url';

/** The repository: this file is compiled to dist/test/support/. */
export const root = fileURLToPath(new URL('../../../', import.meta.url)).replace(/\/$/, '');
