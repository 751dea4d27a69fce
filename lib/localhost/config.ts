export type { LocalhostConfig, ConfigGuest, ConfigService, PortRange } from '../wire/localhost.js';
