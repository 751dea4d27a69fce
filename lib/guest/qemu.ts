import { array, boolean, check, either, integer, optional, options, text } from '../check.js';
import * as v from 'valibot';
import type { GuestNetwork } from './network.js';
import { shell } from './quote.js';
import { type Rendered, Report } from './report.js';

export interface QemuOptions {
  /** Descriptors of the TAP that QEMU inherits, one for each queue (`fds=`). Default: it opens the TAP by its name. */
  readonly fds?: readonly number[];
  /** One descriptor, in the older spelling (`fd=`). */
  readonly fd?: number;
  /** By name: how many queues it opens; the TAP must have been made for several if it is more than one. Default 1. */
  readonly queues?: number;
  /** The data path in the kernel, by /dev/vhost-net. Default: not said, which is off. */
  readonly vhost?: boolean;
  /** Descriptors of /dev/vhost-net, as many as there are queues. */
  readonly vhostfds?: readonly number[];
  /** By name: whether frames carry a virtio header. Default: not said, which is on where the kernel has it. */
  readonly vnetHdr?: boolean;
  /** Of the backend; the card's is the same with '-card'. Default 'net0'. */
  readonly id?: string;
  /** The card. Default 'virtio-net-pci'; 'virtio-net-device' on microvm. */
  readonly device?: string;
  /** More properties of the card: { romfile: '', addr: '0x3' }. */
  readonly properties?: Readonly<Record<string, string | number | boolean>>;
}

export interface QemuRendered extends Rendered {
  /** For execve: ['-netdev', 'tap,id=net0,...', '-device', 'virtio-net-pci,...']. */
  readonly args: readonly string[];
  readonly netdev: Readonly<Record<string, string>>;
  readonly device: Readonly<Record<string, string>>;
  /** The same for a POSIX shell. */
  readonly text: string;
}

const descriptor = integer(0, 0x7fffffff);
const scalar = either(text, either(integer(-0x80000000, 0xffffffff), boolean, ''), 'must be a text, an integer, true or false');
const schema = options({
  fds: optional(array(descriptor)),
  fd: optional(descriptor),
  queues: optional(integer(1, 256)), // MAX_TAP_QUEUES of the kernel
  vhost: optional(boolean),
  vhostfds: optional(array(descriptor)),
  vnetHdr: optional(boolean),
  id: optional(text),
  device: optional(text),
  properties: optional(v.record(text, scalar, 'must be an object of properties')),
});

/**
 * QEMU's network backend and card, for each interface with an `id` of its own: `-netdev tap,id=net0,fds=3:4 -device virtio-net-pci,netdev=net0,mac=...,host_mtu=1450,mq=on,vectors=6`.
 * The MTU is offered by VIRTIO_NET_F_MTU. The MAC is always given: QEMU's own default is the same in every machine. Scripts are switched
 * off. What the guest is told is its own configuration's affair: see `cloudInit`, `linuxCmdline`, `unikraft`.
 *
 * QEMU, qemu-options.hx (-netdev tap); net/tap.c (net_init_tap) for what excludes what; util/keyval.c for the doubled commas; hw/net/virtio-net.c.
 * @throws GuestConfigError options that exclude each other; an id QEMU does not take
 * @example const { stdio, childFds } = fds.stdio(); spawn('qemu-system-x86_64', [...qemu(guest, { fds: childFds }).args], { stdio })
 */
export function qemu(guest: GuestNetwork, settings: QemuOptions = {}): QemuRendered {
  const given = check(schema, settings, 'qemu');
  const { fds, fd, vhost, vhostfds, vnetHdr, id = 'net0', device: model = 'virtio-net-pci', properties = {} } = given;
  const report = new Report('qemu');
  const { tap, mac, mtu } = report.take(guest);
  // id_wellformed() of util/id.c
  if (!/^[A-Za-z][A-Za-z0-9._-]*$/.test(id))
    throw report.error('id', `qemu: an id is a letter and letters, digits, '-', '.', '_'; received ${JSON.stringify(id)}`);
  if (!/^[A-Za-z][A-Za-z0-9_-]*$/.test(model)) throw report.error('device', `qemu: no name of a card: ${JSON.stringify(model)}`);
  if (mtu > 0xffff) throw report.error('mtu', `qemu: host_mtu goes up to 65535, and the MTU is ${mtu}`);
  const byFd = fds !== undefined || fd !== undefined;
  if (fds !== undefined && (fd !== undefined || fds.length === 0 || new Set(fds).size < fds.length))
    throw report.error('fds', "qemu: 'fds' is one or more different descriptors, without 'fd'");
  if (byFd && (given.queues !== undefined || vnetHdr !== undefined))
    throw report.error(
      given.queues === undefined ? 'vnetHdr' : 'queues',
      'qemu: with descriptors, those say what queues and headers there are',
    );
  const queues = fds?.length ?? given.queues ?? 1;
  if (vhostfds !== undefined && (vhost !== true || vhostfds.length !== queues))
    throw report.error('vhostfds', `qemu: 'vhostfds' needs vhost: true, and as many descriptors as there are queues, ${queues}`);

  const netdev: Record<string, string> = { type: 'tap', id };
  if (fds !== undefined) netdev.fds = fds.join(':');
  else if (fd !== undefined) netdev.fd = String(fd);
  else Object.assign(netdev, { ifname: tap, script: 'no', downscript: 'no', ...(queues > 1 && { queues: String(queues) }) });
  if (vnetHdr !== undefined) netdev.vnet_hdr = onOff(vnetHdr);
  if (vhost !== undefined) netdev.vhost = onOff(vhost);
  if (vhostfds !== undefined) netdev.vhostfds = vhostfds.join(':');

  const device: Record<string, string> = { driver: model, netdev: id, id: `${id}-card`, mac };
  if (model.startsWith('virtio-net')) device.host_mtu = String(mtu);
  else if (mtu !== 1500) report.note('mtu', `${mtu}: a ${model} does not tell its MTU`);
  if (queues > 1) {
    device.mq = 'on';
    // One for each direction of each queue, one for the control queue, one for changes of configuration.
    if (model.endsWith('-pci')) device.vectors = String(2 * queues + 2);
  }
  for (const [name, value] of Object.entries(properties)) {
    if (!/^[A-Za-z][\w.-]*$/.test(name)) throw report.error('properties', `qemu: no name of a property: ${JSON.stringify(name)}`);
    device[name] = typeof value === 'boolean' ? onOff(value) : String(value);
  }
  const args = ['-netdev', joined(report, 'type', netdev), '-device', joined(report, 'driver', device)];
  return { args, netdev, device, text: shell(args), untold: report.untold };
}

function onOff(value: boolean): string {
  return value ? 'on' : 'off';
}

/** The first key's value stands alone. In a value a comma is doubled; nothing else is syntax. */
function joined(report: Report, first: string, values: Readonly<Record<string, string>>): string {
  const nul = Object.entries(values).find(([, value]) => value.includes('\0'))?.[0];
  if (nul !== undefined) throw report.error(nul, `qemu: '${nul}' contains NUL, which ends an argument`);
  const escaped = (value: string): string => value.replaceAll(',', ',,');
  return Object.entries(values)
    .map(([key, value]) => (key === first ? escaped(value) : `${key}=${escaped(value)}`))
    .join(',');
}
