// Kinds without attributes of their own.
import { table } from '../attribute.js';

/** Intermediate functional block: where tc redirects what it cannot shape on the way in. */
export const ifb = table('IFLA_IFB', {});
export const dummy = table('IFLA_DUMMY', {});
