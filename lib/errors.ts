// The errors, in the shape of Node's own: `code` is stable and for programs, `message` is for people.

/** What the kernel said about a netlink request beyond its errno (NLMSGERR_ATTR_*, netlink ext-ack). */
export interface ExtendedAck {
  readonly message?: string;
  /** The attribute at fault, by its kernel name: 'IFLA_LINKINFO.IFLA_INFO_DATA.IFLA_BR_AGEING_TIME'. */
  readonly attribute?: string;
  /** Where that attribute stands in the request, in bytes. */
  readonly offset?: number;
  /** What the attribute may hold: type, minimum, maximum, length ... */
  readonly policy?: object;
  /** An attribute that should have been there. */
  readonly missing?: string;
}

/** The kernel refused a netlink request. `errno` is negative, as in Node's own errors; `syscall` names the request: 'RTM_NEWLINK'. */
export class NetlinkError extends Error {
  override readonly name: string = 'NetlinkError';
  readonly code: string;
  readonly errno: number;
  readonly syscall: string;
  readonly extack?: ExtendedAck;
  /** Which request of a batch failed. */
  readonly index: number;

  constructor(
    message: string,
    details: { code: string; errno: number; syscall: string; extack?: ExtendedAck | undefined; index?: number; cause?: unknown },
  ) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.code = details.code;
    this.errno = details.errno;
    this.syscall = details.syscall;
    if (details.extack !== undefined) this.extack = details.extack;
    this.index = details.index ?? 0;
  }
}

/** A dump changed under the reader more often than it was repeated (NLM_F_DUMP_INTR). `partial` is the last try: it may miss or repeat objects. */
export class DumpInterruptedError extends Error {
  override readonly name = 'DumpInterruptedError';
  readonly code = 'ERR_DUMP_INTERRUPTED';

  constructor(
    readonly syscall: string,
    readonly attempts: number,
    readonly partial: readonly unknown[],
  ) {
    super(
      `${syscall}: the table changed during each of ${attempts} dumps; the last one, which may miss or repeat entries, is in \`partial\``,
    );
  }
}

/** The kernel, the machine or the operating system lacks something. */
export class UnsupportedError extends Error {
  override readonly name = 'UnsupportedError';
  readonly code: string = 'ERR_UNSUPPORTED';
  readonly feature: string;
  readonly minimumKernel?: string;
  readonly config?: string;

  constructor(message: string, details: { feature: string; minimumKernel?: string; config?: string; cause?: unknown }) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.feature = details.feature;
    if (details.minimumKernel !== undefined) this.minimumKernel = details.minimumKernel;
    if (details.config !== undefined) this.config = details.config;
  }
}

/** A failure that is neither the kernel's answer to a request nor a misuse: a system call, or the state of a handle. */
export class PodtapError extends Error {
  override readonly name = 'PodtapError';
  readonly code: string;
  readonly errno?: number;
  readonly syscall?: string;
  readonly path?: string;

  constructor(message: string, details: { code: string; errno?: number; syscall?: string; path?: string | undefined; cause?: unknown }) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.code = details.code;
    if (details.errno !== undefined) this.errno = details.errno;
    if (details.syscall !== undefined) this.syscall = details.syscall;
    if (details.path !== undefined) this.path = details.path;
  }
}

/** The kernel does not take an eBPF program. `log` is what its verifier says, the reason at the end; empty where it did not come to that. */
export class BpfLoadError extends Error {
  override readonly name = 'BpfLoadError';
  readonly syscall = 'bpf(BPF_PROG_LOAD)';

  constructor(
    message: string,
    readonly code: string,
    readonly errno: number,
    readonly log: string,
  ) {
    super(message);
  }
}

/** A transaction failed, and what it had done was undone. `cause` is what failed. */
export class TransactionError extends Error {
  override readonly name: string = 'TransactionError';
  readonly code: string;
  /** What failed, as ip(8), tc(8) or sysctl(8) would be told to do it; '' where it was none of podtap's steps. */
  readonly step: string;
  /** What was put back. */
  readonly undone: readonly string[];
  /** What was not, and why: somebody else's changes, and what the kernel refused. */
  readonly leftBehind: readonly string[];

  constructor(
    message: string,
    details: { code: string; step?: string; undone?: readonly string[]; leftBehind?: readonly string[]; cause?: unknown },
  ) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.code = details.code;
    this.step = details.step ?? '';
    this.undone = details.undone ?? [];
    this.leftBehind = details.leftBehind ?? [];
  }
}

/**
 * A pod was not plumbed, and is as it was. `code`: ERR_PLUMB_TAP_BUSY, _IN_PROGRESS, _CONFLICT, _NO_LINK, _AMBIGUOUS_LINK, _NO_ADDRESS,
 * _LINK_KIND, _LINK_DOWN, _ENSLAVED, _FAILED; ERR_PERMISSION; ERR_TUN_UNAVAILABLE; ERR_NETNS_GONE.
 */
export class PlumbError extends TransactionError {
  override readonly name = 'PlumbError';
  /** Whether the same call may succeed a moment later. */
  readonly transient: boolean;
  /** Who has the TAP open. */
  readonly holders?: readonly { readonly pid: number; readonly command: string; readonly queues: number }[];

  constructor(
    message: string,
    details: ConstructorParameters<typeof TransactionError>[1] & { transient?: boolean; holders?: PlumbError['holders'] },
  ) {
    super(message, details);
    this.transient = details.transient ?? false;
    if (details.holders !== undefined) this.holders = details.holders;
  }
}

/** Misuse: a TypeError with a code, thrown before any system call. */
export function invalidArgument(code: 'ERR_INVALID_ARG_TYPE' | 'ERR_INVALID_ARG_VALUE', message: string): TypeError & { code: string } {
  const error = new TypeError(message) as TypeError & { code: string };
  error.code = code;
  return error;
}
