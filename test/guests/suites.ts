// For each datapath and each way to address a pod: what must be answered, and what must not.
import t from 'tap';
import { type Trait, all } from './modes.js';
import {
  proveKeptMac,
  proveQemuByDescriptor,
  proveQemuByName,
  proveQemuPluggedIn,
  proveRandomMac,
  proveUml,
  quicker,
  skipped,
} from './proofs.js';

export async function umlSuite(traits: readonly Trait[]): Promise<void> {
  t.setTimeout(600_000);
  t.ok(Array.isArray(traits)); // a file of no test is a failure
  for (const trait of traits.filter(({ byName }) => byName)) {
    const skip = skipped('uml', trait);
    for (const subnet of ['/16', '/32'] as const) {
      await t.test(`${trait.mode}, ${subnet}, eth0's MAC`, { skip }, (t) => proveUml(t, trait, subnet));
    }
  }
}

/** MACs of the guest's own, by whichever guest is the quicker one. */
export async function macSuite(traits: readonly Trait[]): Promise<void> {
  t.setTimeout(600_000);
  t.ok(Array.isArray(traits));
  for (const trait of traits.filter(({ mode }) => mode === 'bridge' || mode === 'macvtap')) {
    const skip = skipped(trait.byName ? quicker : 'qemu', trait);
    for (const subnet of ['/16', '/32'] as const)
      await t.test(`${trait.mode}, ${subnet}, a random MAC`, { skip }, (t) => proveRandomMac(t, trait, subnet));
    if (trait.mode === 'bridge') await t.test("bridge, /16, eth0's MAC, which eth0 has kept", { skip }, (t) => proveKeptMac(t));
  }
}

export async function qemuSuite(traits: readonly Trait[]): Promise<void> {
  t.setTimeout(600_000);
  t.ok(Array.isArray(traits));
  for (const trait of traits) {
    const skip = skipped('qemu', trait);
    for (const subnet of all ? (['/16', '/32'] as const) : (['/32'] as const)) {
      if (trait.byName) {
        await t.test(`${trait.mode}, ${subnet}, by name, killed and restarted`, { skip }, (t) => proveQemuByName(t, trait, subnet));
        await t.test(`${trait.mode}, ${subnet}, up already`, { skip }, (t) => proveQemuPluggedIn(t, trait, subnet));
      }
      await t.test(`${trait.mode}, ${subnet}, two queues`, { skip }, (t) => proveQemuByDescriptor(t, trait, subnet, 2));
      if (all || !trait.byName)
        await t.test(`${trait.mode}, ${subnet}, one descriptor`, { skip }, (t) => proveQemuByDescriptor(t, trait, subnet, 1));
    }
  }
}
