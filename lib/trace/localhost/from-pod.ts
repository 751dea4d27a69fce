// podtap_lh_lo: what the pod's processes send to a guest. Function by function as native/bpf/localhost.c has them.
import { ETH_P_IP, frameLength } from '../../wire/frame.js';
import { tellEnd } from '../changes.js';
import { type Ran, type Run, LOCALHOST, Untold, alias, endsOf, hasPorts, refuseFragment } from './run.js';

const ETHERNET = 14;

export async function fromPod(run: Run): Promise<Ran> {
  const { config, frame, look } = run;
  const { packet } = frame;
  if (frame.type !== ETH_P_IP || packet === undefined) return undefined;
  const ends = endsOf(packet);
  const { from, to, fromPort, toPort } = ends;
  const { protocol } = packet;
  const guest = run.ofInner(to);
  const closed = (why: string): Ran => run.lost('FILTERED', `only declared services answer guests, and ${why}`);

  if (guest !== undefined) {
    refuseFragment(packet);
    const name = await look.address('names', from);
    if ((await look.tap(guest.slot)) === 0) return closed(`there is no guest in slot ${guest.slot}`);
    if (name === undefined) return closed(`${from} is none of theirs`);
    if (!hasPorts(protocol)) return closed('they answer by TCP and UDP only');
    if (fromPort === 0) throw new Untold('the source port, which was not given');
    const target = await look.target('answers', from, protocol, fromPort);
    if (target === undefined) return closed(`${tellEnd(from, fromPort)}/${protocol} is none`);
    const port = (fromPort + target.shift) & 0xffff;
    run.found('answers', `${tellEnd(from, fromPort)}/${protocol}`, tellEnd(target.address, port));
    if (!guest.literal) run.found('names', from, name);
    run.rewrite({ from: guest.literal ? from : name, to: run.address(guest.index), fromPort: port, toPort });
    return run.toTap(guest.slot);
  }

  if (to !== LOCALHOST && to !== run.address(0)) return undefined;
  // Only from the same address there is a way back.
  if (from !== to || (packet.fragmentOffset ?? 0) > 0 || !hasPorts(protocol)) return undefined;
  const slot = await look.owner(protocol, toPort);
  if (slot === 0) return undefined;
  if ((await run.socket(packet, ends)) === 'connected') return undefined;
  const tap = await look.tap(slot);
  if (tap === 0) return undefined;
  run.found('owners', `${toPort}/${protocol}`, `slot ${slot}`);
  const link = await run.place.space.link(tap);
  if (link !== undefined && frameLength(frame) > link.mtu + ETHERNET)
    return run.lost('MTU_EXCEEDED', `the packet of ${packet.length} bytes is longer than the MTU of ${link.name}, ${link.mtu}`);
  run.rewrite({ ...ends, from: run.alias(from === LOCALHOST ? alias.localhost : alias.pod), to: config.addresses[0] ?? '0.0.0.0' });
  return run.toTap(slot);
}
