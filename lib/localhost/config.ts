export type { ConfigGuest, ConfigService, LocalhostConfig, PortRange } from '../wire/localhost.js';
