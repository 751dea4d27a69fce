import { nested, table } from '../attribute.js';

/** Of qdiscs without options: ingress, clsact, noqueue, mq. */
export const none = nested(table('TCA', {}));
