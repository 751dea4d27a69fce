// podtap's eBPF programs, which redirect: attached for good, and taken off by whoever finds them.
import * as v from 'valibot';
import { type LinkRef, array, integer, interfaceMac, linkRef, oneOf, optional, options, text, u32 } from '../check.js';
import { keys } from '../state/resource.js';
import { ownFilter } from '../state/tc.js';
import { type OperationKind, device, operation } from './operation.js';

/** Loads both programs, attaches the one to the TAP and then the other to the interface. They hold their maps. */
export interface EbpfAttach {
  readonly op: 'ebpf.attach';
  readonly link: LinkRef;
  readonly tap: LinkRef;
  /** 'tcx', or filters of cls_bpf, whose places must be there. */
  readonly hook: 'tcx' | 'filter';
  readonly order: 'first' | 'last';
  /** Of filters. */
  readonly parent?: string;
  readonly priority?: number;
  /** What the guest may send from; absent: anything. */
  readonly source?: { readonly mac: string; readonly addresses: readonly string[] };
}
export interface TcxDetach {
  readonly op: 'tcx.detach';
  readonly link: LinkRef;
  readonly direction: 'ingress' | 'egress';
  readonly id: number;
}

/** By their names in native/bpf/redirect.c. */
export const TO_GUEST = 'podtap_to_guest';
export const TO_LINK = 'podtap_to_link';

export const ebpfAttach: OperationKind<EbpfAttach> = {
  schema: operation('ebpf.attach', {
    link: linkRef,
    tap: linkRef,
    hook: oneOf('tcx', 'filter'),
    order: oneOf('first', 'last'),
    parent: optional(text),
    priority: optional(integer(1, 0xffff)),
    source: optional(options({ mac: interfaceMac, addresses: v.pipe(array(text), v.readonly()) })),
  }),
  links: ({ link, tap }) => [link, tap],
  requests: ({ link, tap, hook, order, parent, priority, source }, find) => [
    {
      by: 'bpf',
      attach: {
        link: find(link),
        tap: find(tap),
        hook,
        order,
        ...(parent !== undefined && { parent }),
        ...(priority !== undefined && { priority }),
        ...(source !== undefined && { source }),
      },
    },
  ],
  parts: ({ hook }) => [hook],
  touches: ({ link, tap, hook }, on) => {
    for (const [of, name] of [[tap, TO_LINK], [link, TO_GUEST]] as const) {
      if (hook === 'tcx') on.mayAdd(keys.tcx(on.find(of), 'ingress', name));
      else {
        const { key, value } = ownFilter(on.find(of), name);
        on.will(key, value);
      }
    }
  }, // prettier-ignore
  command: ({ link, tap, hook }) =>
    `# the eBPF programs ${TO_LINK} on ${device(tap)} and ${TO_GUEST} on ${device(link)}, ingress, ${hook === 'tcx' ? 'tcx' : 'cls_bpf'}`,
};

export const tcxDetach: OperationKind<TcxDetach> = {
  schema: operation('tcx.detach', { link: linkRef, direction: oneOf('ingress', 'egress'), id: u32 }),
  links: ({ link }) => [link],
  requests: ({ link, direction, id }, find) => [{ by: 'bpf', detach: { link: find(link), direction, id } }],
  parts: () => ['tcx'],
  touches: ({ id }, on) => on.refuse(`taking off the program ${id}`, 'another one like it would have to be loaded'),
  command: ({ link, direction, id }) => `bpftool net detach tcx_${direction} id ${id} dev ${device(link)}`,
};
