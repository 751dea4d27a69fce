export { createLab, type LabDescription } from './lab.js';
export { runGuest, type Guest, type GuestOptions } from './guest.js';
export { ping, type PingOptions, type PingResult } from './ping.js';
