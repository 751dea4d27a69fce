/// <reference lib="esnext.disposable" preserve="true" />
export { type Witness, type Witnessed, captureAlong, compareFrames } from './along.js';
export {
  type Capture,
  type CaptureOptions,
  type CapturedFrame,
  type CapturedInterface,
  capture,
  encodeCaptures,
  writeCaptures,
} from './capture.js';
export { type CaptureFilter, arp, etherType, icmp, tcpPort, udpPort } from './filters.js';
export type { Answer, Decision, Hop, Loss, LossCode, MapEntry, Undecided } from './hop.js';
export { type PathTrace, type TraceNamespaces, type TraceOptions, tracePath } from './path.js';
export { tellFrame } from './text.js';
export type { Connection, ConnectionTuple } from '../wire/conntrack.js';
export type { ArpPacket, Frame, Packet } from '../wire/frame.js';
