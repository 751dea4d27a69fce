// From what a step met to what the caller of plumb can do about it.
import { DumpInterruptedError, NetlinkError, PlumbError, PodtapError, TransactionError } from '../errors.js';

/** Worth trying again: memory and buffers, a name that is being taken, a table that did not rest. */
const passing = new Set(['ERR_LOCK_BUSY', 'ENOBUFS', 'ENOMEM', 'EAGAIN', 'EINTR', 'EBUSY', 'ERR_DUMP_INTERRUPTED']);

/** TypeErrors, errors of the journal and aborts stay what they are. */
export function plumbError(error: unknown): unknown {
  if (error instanceof PlumbError) return error;
  const cause = error instanceof TransactionError ? error.cause : error;
  if (cause instanceof PlumbError) return leaving(cause, error as TransactionError);
  const known = cause instanceof NetlinkError || cause instanceof PodtapError || cause instanceof DumpInterruptedError;
  if (!known && !(error instanceof TransactionError)) return error;
  if (cause instanceof PodtapError && /^ERR_(JOURNAL|LOCK$|NETNS_CLOSED|TRANSACTION)/.test(cause.code) && !(error instanceof TransactionError)) return error; // prettier-ignore
  const step = error instanceof TransactionError ? error.step : '';
  const { code, message } = known ? translate(cause, step) : { code: 'ERR_PLUMB_FAILED', message: (error as Error).message };
  const details = error instanceof TransactionError ? { step, undone: error.undone, leftBehind: error.leftBehind } : {};
  return new PlumbError(message, { ...details, code, cause, transient: known && passing.has(cause.code) });
}

/** What was undone on the way belongs to the error that caused it. */
function leaving(
  cause: PlumbError,
  { undone, leftBehind }: { undone?: readonly string[]; leftBehind?: readonly string[] } & object,
): PlumbError {
  const { message, code, step, transient, holders } = cause;
  return new PlumbError(message, { code, step, transient, undone: undone ?? [], leftBehind: leftBehind ?? [], cause: cause.cause, ...(holders !== undefined && { holders }) }); // prettier-ignore
}

function translate(cause: NetlinkError | PodtapError | DumpInterruptedError, step: string): { code: string; message: string } {
  const { code, message } = cause;
  const at = step === '' ? '' : ` (${step.split('\n')[0]})`;
  if (code === 'EPERM' && message.includes('eBPF')) return { code: 'ERR_PERMISSION', message: `mode 'ebpf': ${message}${at}` };
  if (code === 'EPERM' || code === 'EACCES') return { code: 'ERR_PERMISSION', message: `changing this namespace needs CAP_NET_ADMIN in it: ${message}${at}` }; // prettier-ignore
  if (code === 'ERR_LOCK_BUSY') return { code: 'ERR_PLUMB_IN_PROGRESS', message };
  if (code === 'ERR_TUN_UNAVAILABLE' || code === 'ERR_NETNS_GONE') return { code, message };
  if (/\bmaster\b/.test(step) && code === 'EBUSY') return { code: 'ERR_PLUMB_ENSLAVED', message: `something else receives the frames of the interface already, such as a macvlan on it: ${message}${at}` }; // prettier-ignore
  if (/\bmaster\b/.test(step) && ['EINVAL', 'EOPNOTSUPP', 'ELOOP'].includes(code)) return { code: 'ERR_PLUMB_LINK_KIND', message: `the kernel does not bridge that interface: ${message}${at}` }; // prettier-ignore
  if (code === 'EEXIST' || (code === 'EBUSY' && step.startsWith('ip tuntap'))) return { code: 'ERR_PLUMB_CONFLICT', message: `somebody else took a name meanwhile: ${message}${at}` }; // prettier-ignore
  return { code: 'ERR_PLUMB_FAILED', message: `${message}${at}` };
}
