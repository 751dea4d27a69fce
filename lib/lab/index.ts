export { createLab, type LabDescription } from './lab.js';
export { ping, type PingOptions, type PingResult } from './ping.js';
