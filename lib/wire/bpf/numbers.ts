// uapi/linux/bpf.h, as far as podtap uses it.
import { Naming } from '../names.js';

export const BPF_PROG_TYPE_SCHED_CLS = 3;

export const mapTypes = new Naming('type of eBPF map', {
  hash: 1,
  array: 2,
  percpu_hash: 5,
  percpu_array: 6,
  lru_hash: 9,
  lru_percpu_hash: 10,
  lpm_trie: 11,
});

/** BPF_TCX_*: tc's hooks, without a qdisc. */
export const tcxHooks = { ingress: 46, egress: 47 } as const;
export const BPF_LINK_TYPE_TCX = 11;

/** Flags of an attachment among others. */
export const BPF_F_REPLACE = 1 << 2;
export const BPF_F_BEFORE = 1 << 3;
export const BPF_F_AFTER = 1 << 4;
export const BPF_F_ID = 1 << 5;
export const BPF_F_LINK = 1 << 13;

/** Of BPF_MAP_UPDATE_ELEM. */
export const BPF_ANY = 0;
export const BPF_NOEXIST = 1;
export const BPF_EXIST = 2;

/** What a program on tcx, or of cls_bpf with direct action, returns. */
export const verdicts = { next: -1, pass: 0, drop: 2, redirect: 7 } as const;
