// Every kind by example: a pod on a bridge (/16), one behind a router that is not on its subnet (/32), and what a kind cannot say.
import t from 'tap';
import {
  GuestConfigError,
  type GuestNetwork,
  type QemuOptions,
  cloudHypervisor,
  cloudInit,
  defineGuest,
  dracutCmdline,
  firecracker,
  keywords,
  linuxCmdline,
  mirage,
  qemu,
  rumprun,
  solo5,
  uml,
  unikraft,
} from 'podtap/guest';

const mac = '0a:58:ac:11:00:05';
const base = { mac, tap: 'tap100', dns: { servers: ['169.254.77.1'], search: [] }, hostname: 'podname' };
const bridged = defineGuest({ ...base, mtu: 1450, addresses: [{ address: '172.17.0.5/16' }], gateway: { ipv4: '172.17.0.1' } });
const routed = defineGuest({ ...base, mtu: 1450, addresses: [{ address: '172.17.0.5/32' }], gateway: { ipv4: '169.254.1.1' } });
const plain = defineGuest({ ...bridged, mtu: 1500 });
const dual = defineGuest({
  ...base,
  addresses: [{ address: '172.17.0.5/16' }, { address: 'fd00::5/64' }],
  gateway: { ipv4: '172.17.0.1', ipv6: 'fd00::1' },
});
const several = defineGuest({ ...base, addresses: [{ address: '172.17.0.5/16' }, { address: '172.17.0.6/16' }] });
const withRoute = defineGuest({
  ...base,
  addresses: [{ address: '172.17.0.5/16' }],
  gateway: { ipv4: '172.17.0.1' },
  routes: [
    { dst: 'default', via: '172.17.0.1' },
    { dst: '10.9.0.0/16', via: '172.17.0.9' },
  ],
});

/** What a renderer refuses. */
function refused(call: () => unknown): { guest: string; field: string; loss?: string | undefined; message: string } {
  try {
    call();
  } catch (error) {
    if (!(error instanceof GuestConfigError)) throw error;
    t.equal(error.code, 'ERR_GUEST_CONFIG');
    const { guest, field, loss, message } = error;
    t.ok(message.startsWith(`${guest}: `), message);
    return { guest, field, loss, message };
  }
  return { guest: 'none', field: 'none', message: 'it was not refused' };
}
const fields = (rendered: { readonly untold: readonly { readonly field: string }[] }): string[] =>
  rendered.untold.map(({ field }) => field);

await t.test('Solo5', async (t) => {
  t.same(solo5(bridged).args, ['--net:service=tap100', `--net-mac:service=${mac}`]);
  t.equal(solo5(bridged, { service: 'tap' }).text, `--net:tap=tap100 --net-mac:tap=${mac}`);
  t.same(solo5(plain, { fd: 3, version: '0.9.3' }).args, ['--net:service=@3', `--net-mac:service=${mac}`]);
  t.same(fields(solo5(plain, { fd: 3 })), ['fd'], 'newer tenders refuse it');
  t.match(
    refused(() => solo5(plain, { fd: 3, version: '0.10.0' })),
    { field: 'fd' },
  );
  t.match(
    refused(() => solo5(bridged, { version: '0.9.3' })),
    { field: 'mtu', loss: 'mtu' },
  );
  t.same(fields(solo5(bridged, { version: '0.9.3', without: ['mtu'] })), ['mtu']);
  t.match(
    refused(() => solo5(bridged, { service: 'a-b' })),
    { field: 'service' },
  );
  t.match(
    refused(() => solo5({ ...bridged, tap: '@3' })),
    { field: 'tap' },
  );
  t.equal(solo5({ ...bridged, tap: "a'b" }).text, `'--net:service=a'\\''b' --net-mac:service=${mac}`);
});

await t.test('MirageOS', async (t) => {
  t.equal(mirage(bridged).text, '--ipv4=172.17.0.5/16 --ipv4-gateway=172.17.0.1');
  t.equal(mirage(routed).text, '--ipv4=172.17.0.5/32 --ipv4-gateway=169.254.1.1', 'its gateway may be anywhere');
  t.same(fields(mirage(bridged)), ['dns.servers', 'hostname']);
  t.same(mirage(bridged, { group: 'left', dnsFlag: 'dns-servers' }).args, [
    '--left-ipv4=172.17.0.5/16',
    '--left-ipv4-gateway=172.17.0.1',
    '--left-dns-servers=169.254.77.1',
  ]);
  t.equal(mirage(dual).text, '--ipv4=172.17.0.5/16 --ipv4-gateway=172.17.0.1 --ipv6=fd00::5/64 --ipv6-gateway=fd00::1');
  t.match(
    refused(() => mirage(dual, { stack: 'ipv4' })),
    { field: 'addresses', loss: 'ipv6' },
  );
  t.equal(mirage(dual, { stack: 'ipv4', without: ['ipv6'] }).text, mirage(bridged).text);
  const only6 = defineGuest({ ...base, addresses: [{ address: 'fd00::5/64' }], gateway: { ipv6: 'fe80::1' } });
  t.equal(mirage(only6).text, '--ipv6=fd00::5/64 --ipv6-gateway=fe80::1 --ipv6-only=true', 'or it takes 10.0.0.2/24 as well');
  t.match(
    refused(() => mirage(several)),
    { field: 'addresses', loss: 'addresses' },
  );
  t.match(
    refused(() => mirage(withRoute)),
    { field: 'routes', loss: 'routes', message: /10\.9\.0\.0\/16 via 172\.17\.0\.9/ },
  );
  t.equal(mirage(withRoute, { without: ['routes'] }).text, mirage(bridged).text);
  t.match(
    refused(() => mirage(defineGuest({ mac, addresses: [] }))),
    { field: 'addresses' },
  );
  const odd = (address: string, ipv4: string): GuestNetwork => defineGuest({ addresses: [{ address }], gateway: { ipv4 } });
  t.match(
    refused(() => mirage(odd('10.0.0.10/31', '10.0.0.11'))),
    { field: 'gateway.ipv4', loss: 'gateway' },
  );
  t.equal(mirage(odd('10.0.0.11/31', '10.0.0.10')).text, '--ipv4=10.0.0.11/31 --ipv4-gateway=10.0.0.10');
});

await t.test('rumprun', async (t) => {
  const net = { if: 'ukvmif0', cloner: 'True', type: 'inet', method: 'static', addr: '172.17.0.5', mask: '16', gw: '172.17.0.1' };
  const { text, entries } = rumprun(plain, { cmdline: '/app.nabla a b', cwd: '/' });
  t.equal(text, `{"cmdline":"/app.nabla a b","hostname":"podname","net":${JSON.stringify(net)},"cwd":"/"}`);
  t.same(entries, [['cmdline', '/app.nabla a b'], ['hostname', 'podname'], ['net', net], ['cwd', '/']]); // prettier-ignore
  t.same(fields(rumprun(plain)), ['dns.servers']);
  t.match(
    refused(() => rumprun(bridged)),
    { field: 'mtu', loss: 'mtu' },
  );
  const small = { ...routed, mtu: 1500 };
  t.match(
    refused(() => rumprun(small)),
    { field: 'gateway.ipv4', message: /\/5 .*widen/ },
  );
  t.match(rumprun(small, { offSubnetGateway: 'widen' }).text, /"mask":"5","gw":"169.254.1.1"/);
  t.match(rumprun(small, { offSubnetGateway: 'omit' }).text, /"mask":"32"\}/);
  for (const address of ['10.1.0.5/32', '192.168.0.5/32', '100.64.0.5/32']) {
    const other = defineGuest({ ...base, addresses: [{ address }], gateway: { ipv4: '169.254.1.1' } });
    t.match(
      refused(() => rumprun(other, { offSubnetGateway: 'widen' })),
      { field: 'gateway.ipv4', message: /inside of the subnet/ },
    );
  }
  t.equal(
    rumprun(dual).text,
    '{"hostname":"podname","net":{"if":"ukvmif0","cloner":"True","type":"inet","method":"static","addr":"172.17.0.5","mask":"16","gw":"172.17.0.1"},' +
      '"net":{"if":"ukvmif0","type":"inet6","method":"static","addr":"fd00::5","mask":"64","gw":"fd00::1"}}',
    'the interface is made once',
  );
  t.notMatch(rumprun(plain, { interface: 'vioif0' }).text, /cloner/);
  const nibble = defineGuest({ ...base, addresses: [{ address: 'fd00::5/60' }] });
  t.match(
    refused(() => rumprun(nibble)),
    { field: 'addresses', loss: 'ipv6' },
  );
  const linkLocal = defineGuest({ ...base, addresses: [{ address: 'fd00::5/64' }], gateway: { ipv6: 'fe80::1' } });
  t.match(
    refused(() => rumprun(linkLocal)),
    { field: 'gateway.ipv6', loss: 'gateway' },
  );
  t.notMatch(rumprun(linkLocal, { without: ['gateway'] }).text, /gw/);
  t.match(rumprun(plain, { env: ['A=<&>', 'B=é'] }).text, /"env":"A=<&>","env":"B=é"/, 'nothing is escaped');
  for (const cmdline of ['a "b"', 'a\\b', 'a\nb', 'a\0b'])
    t.match(
      refused(() => rumprun(plain, { cmdline })),
      { field: 'cmdline' },
      JSON.stringify(cmdline),
    );
  t.match(
    refused(() => rumprun([plain, plain])),
    { field: 'interfaces' },
  );
});

await t.test('Unikraft', async (t) => {
  t.equal(unikraft(bridged).text, 'netdev.ip=172.17.0.5/16:172.17.0.1:169.254.77.1::podname');
  t.equal(unikraft(routed).text, 'netdev.ip=172.17.0.5/32:169.254.1.1:169.254.77.1::podname', 'its gateway may be anywhere');
  t.equal(unikraft(bridged, { app: ['-x', "it's", 'a b'] }).text, `${unikraft(bridged).text} -- -x 'it'\\''s' 'a b'`);
  const bare = defineGuest({ addresses: [{ address: '10.0.0.2/24' }] });
  t.equal(unikraft(bare).text, 'netdev.ip=10.0.0.2/24');
  t.same(unikraft([bare, bridged]).parameters, ['netdev.ip=10.0.0.2/24', ...unikraft(bridged).parameters]);
  const old = ['netdev.ipv4_addr=172.17.0.5', 'netdev.ipv4_gw_addr=172.17.0.1', 'netdev.ipv4_subnet_mask=255.255.0.0'];
  t.same(unikraft(bridged, { version: '0.15.0' }).parameters, old);
  t.same(fields(unikraft(bridged, { version: '0.15.0' })), ['hostname', 'dns.servers']);
  t.same(unikraft(bridged, { version: '0.16.0' }).parameters, [...old, 'netdev.ipv4_dns0_addr=169.254.77.1']);
  t.match(unikraft(routed, { version: '0.15.0' }).text, /netdev\.ipv4_subnet_mask=255\.255\.255\.255$/);
  const two = unikraft([bridged, bridged], { version: '0.16.0' });
  t.equal(two.untold.filter(({ field }) => field === 'dns.servers').length, 1, 'a server of one device');
  t.match(unikraft([bridged, routed], { version: '0.15.0' }).text, /^netdev\.ipv4_addr="172\.17\.0\.5 172\.17\.0\.5" /);
  t.match(
    refused(() => unikraft([bridged, bare], { version: '0.15.0' })),
    { field: 'gateway.ipv4' },
  );
  t.match(
    refused(() => unikraft(dual)),
    { field: 'addresses', loss: 'ipv6' },
  );
  t.equal(unikraft(dual, { without: ['ipv6'] }).text, unikraft(bridged).text);
  t.match(
    refused(() => unikraft(several)),
    { loss: 'addresses' },
  );
  t.match(
    refused(() => unikraft(withRoute)),
    { loss: 'routes' },
  );
  t.match(
    refused(() => unikraft(defineGuest({ addresses: [{ address: 'fd00::5/64' }] }), { without: ['ipv6'] })),
    { field: 'addresses' },
  );
  t.match(
    refused(() => unikraft([bare, bare, bare, bare, bare])),
    { field: 'interfaces' },
  );
  t.match(
    refused(() => unikraft(bare, { app: ['a\0'] })),
    { field: 'app' },
  );
});

await t.test("Linux's ip=", async (t) => {
  t.equal(linuxCmdline(bridged).text, 'ip=172.17.0.5::172.17.0.1:255.255.0.0:podname:eth0:off:169.254.77.1');
  t.equal(
    linuxCmdline(defineGuest({ addresses: [{ address: '10.0.0.2/24' }] }), { device: 'vec0' }).text,
    'ip=10.0.0.2:::255.255.255.0::vec0:off',
  );
  t.match(
    refused(() => linuxCmdline(routed)),
    { field: 'gateway.ipv4' },
  );
  t.equal(linuxCmdline(routed, { offSubnetGateway: 'widen' }).text, 'ip=172.17.0.5::169.254.1.1:248.0.0.0:podname:eth0:off:169.254.77.1');
  const omitted = linuxCmdline(routed, { offSubnetGateway: 'omit' });
  t.equal(omitted.text, 'ip=172.17.0.5:::255.255.255.254:podname:eth0:off:169.254.77.1');
  t.same(fields(omitted), ['gateway.ipv4', 'addresses']);
  const alone = defineGuest({ addresses: [{ address: '10.0.0.2/32' }] });
  t.match(
    refused(() => linuxCmdline(alone)),
    { field: 'addresses', message: /\/32/ },
  );
  t.match(
    refused(() => linuxCmdline(dual)),
    { field: 'addresses', loss: 'ipv6', message: /cloudInit/ },
  );
  t.equal(linuxCmdline(dual, { without: ['ipv6'] }).text, linuxCmdline(bridged).text);
  t.match(
    refused(() => linuxCmdline(several)),
    { loss: 'addresses' },
  );
  t.match(
    refused(() => linuxCmdline(withRoute)),
    { loss: 'routes' },
  );
  t.match(
    refused(() => linuxCmdline([bridged, bridged])),
    { field: 'interfaces' },
  );
  t.match(
    refused(() => linuxCmdline(bridged, { device: 'a"b' })),
    { field: 'device' },
  );
  const dns = defineGuest({ ...bridged, dns: { servers: ['1.1.1.1', 'fd00::53', '2.2.2.2', '3.3.3.3'], search: ['a.b'] } });
  t.match(linuxCmdline(dns).text, /:off:1\.1\.1\.1:2\.2\.2\.2$/);
  t.same(linuxCmdline(dns).untold.map(({ field, reason }) => [field, reason.split(':')[0]]), [['dns.servers', 'fd00'], ['dns.search', 'a.b']]); // prettier-ignore
  // ptp, of the CNI plugins: the gateway is near, though the subnet is not on the link.
  const near = defineGuest({ addresses: [{ address: '10.1.0.5/32' }], gateway: { ipv4: '10.1.0.1' } });
  t.equal(linuxCmdline(near, { offSubnetGateway: 'widen' }).text, 'ip=10.1.0.5::10.1.0.1:255.255.255.248::eth0:off');
  const edge = defineGuest({ addresses: [{ address: '10.1.0.5/32' }], gateway: { ipv4: '10.1.0.4' } });
  t.match(linuxCmdline(edge, { offSubnetGateway: 'widen' }).text, /:255\.255\.255\.248:/, 'no network address for a gateway');
});

await t.test("dracut's ip=", async (t) => {
  t.equal(dracutCmdline(bridged).text, 'ip=172.17.0.5::172.17.0.1:16:podname:eth0:none:1450 nameserver=169.254.77.1');
  t.equal(dracutCmdline(routed).text, 'ip=172.17.0.5:169.254.1.1:169.254.1.1:32:podname:eth0:none:1450 nameserver=169.254.77.1');
  t.match(
    refused(() => dracutCmdline(dual)),
    { loss: 'ipv6' },
  );
  t.same(dracutCmdline(dual, { reader: 'systemd' }).parameters, [
    'ip=172.17.0.5::172.17.0.1:16:podname:eth0:none:1500',
    'ip=[fd00::5]::[fd00::1]:64:podname:eth0:none:1500',
    'nameserver=169.254.77.1',
  ]);
  t.match(
    refused(() => dracutCmdline(several)),
    { loss: 'addresses' },
  );
  t.match(dracutCmdline(withRoute).text, / rd\.route=10\.9\.0\.0\/16:172\.17\.0\.9:eth0 /);
  t.equal(dracutCmdline([plain, routed], { devices: ['a', 'b'] }).parameters.length, 3);
  t.match(
    refused(() => dracutCmdline([plain, routed], { devices: ['a', 'a'] })),
    { field: 'devices' },
  );
  const wide = defineGuest({ addresses: [{ address: '10.0.0.5/24' }], gateway: { ipv4: '169.254.1.1' } });
  t.match(
    refused(() => dracutCmdline(wide, { reader: 'systemd' })),
    { field: 'gateway.ipv4', loss: 'gateway' },
  );
  t.equal(dracutCmdline(wide).text, 'ip=10.0.0.5::169.254.1.1:24::eth0:none:1500 rd.route=169.254.1.1/32::eth0');
  const listed = defineGuest({ ...wide, routes: [...wide.routes, { dst: '10.9.0.0/16', via: '10.7.0.1' }, { dst: '169.254.1.1/32' }, { dst: '10.7.0.0/16' }] }); // prettier-ignore
  t.same(dracutCmdline(listed).parameters.slice(1), ['rd.route=169.254.1.1/32::eth0', 'rd.route=10.7.0.0/16::eth0', 'rd.route=10.9.0.0/16:10.7.0.1:eth0']); // prettier-ignore
  const linkLocal = defineGuest({ addresses: [{ address: 'fd00::5/64' }], gateway: { ipv6: 'fe80::1' } });
  t.equal(dracutCmdline(linkLocal).text, 'ip=[fd00::5]::[fe80::1]:64::eth0:none:1500', 'which is on every link');
  const beyond = defineGuest({ ...wide, routes: [...wide.routes, { dst: '10.9.0.0/16', via: '169.254.1.1' }] });
  t.equal(dracutCmdline(beyond).parameters[2], 'rd.route=10.9.0.0/16:169.254.1.1:eth0', 'by the gateway, which is near');
  const off = dracutCmdline(listed, { reader: 'systemd', without: ['gateway', 'routes'] });
  t.equal(off.text, 'ip=10.0.0.5:::24::eth0:none:1500');
  t.same(fields(off), ['gateway.ipv4', 'routes', 'routes', 'routes']);
  const onLink = defineGuest({ addresses: [{ address: '10.0.0.5/24' }], routes: [{ dst: '10.9.0.0/16' }] });
  t.match(dracutCmdline(onLink).text, / rd\.route=10\.9\.0\.0\/16::eth0$/);
  t.match(
    refused(() => dracutCmdline(onLink, { reader: 'systemd' })),
    { loss: 'routes' },
  );
});

await t.test('QEMU', async (t) => {
  const card = `virtio-net-pci,netdev=net0,id=net0-card,mac=${mac},host_mtu=1450`;
  t.same(qemu(bridged).args, ['-netdev', 'tap,id=net0,ifname=tap100,script=no,downscript=no', '-device', card]);
  t.same(qemu(bridged, { fds: [3, 4] }).args, ['-netdev', 'tap,id=net0,fds=3:4', '-device', `${card},mq=on,vectors=6`]);
  t.same(qemu(bridged, { fds: [3] }).args, ['-netdev', 'tap,id=net0,fds=3', '-device', card]);
  t.same(qemu(bridged, { fd: 3 }).args, ['-netdev', 'tap,id=net0,fd=3', '-device', card]);
  t.equal(qemu(bridged, { fds: [3], vhost: true, vhostfds: [5] }).args[1], 'tap,id=net0,fds=3,vhost=on,vhostfds=5');
  t.equal(qemu(bridged, { queues: 2, vhost: false, vnetHdr: false }).args[1], 'tap,id=net0,ifname=tap100,script=no,downscript=no,queues=2,vnet_hdr=off,vhost=off'); // prettier-ignore
  t.match(qemu(bridged, { device: 'virtio-net-device', fds: [3, 4] }).args[3], /,mq=on$/);
  t.match(qemu(bridged, { properties: { romfile: '', 'x-y': true, addr: 3 } }).args[3], /,romfile=,x-y=on,addr=3$/);
  t.equal(qemu({ ...bridged, tap: 'a,b=c' }).args[1], 'tap,id=net0,ifname=a,,b=c,script=no,downscript=no');
  t.same(fields(qemu(bridged, { device: 'e1000' })), ['mtu']);
  const wrong: QemuOptions[] = [{ id: '1a' }, { id: 'a,b' }, { device: 'a,b' }, { fds: [3, 3] }, { fds: [], id: 'a' }, { fd: 3, fds: [3] }, { fds: [3], queues: 2 }, { vhostfds: [5] }, { vhost: true, vhostfds: [5, 6] }, { properties: { 'a=b': 1 } }, { properties: { a: '\0' } }]; // prettier-ignore
  for (const options of wrong) t.equal(refused(() => qemu(bridged, options)).guest, 'qemu', JSON.stringify(options));
});

await t.test('user-mode Linux', async (t) => {
  t.same(uml(bridged).args, [`vec0:transport=tap,ifname=tap100,depth=128,gro=1,mac=${mac},mtu=1450`]);
  t.same(uml(plain, { driver: 'tuntap' }).args, [`eth0=tuntap,tap100,${mac}`]);
  t.match(
    refused(() => uml(bridged, { driver: 'tuntap' })),
    { field: 'mtu', loss: 'mtu' },
  );
  t.match(
    refused(() => uml({ ...bridged, tap: 'a,b' })),
    { field: 'tap' },
  );
  t.match(
    refused(() => uml(bridged, { device: 'eth0' })),
    { field: 'device' },
  );
});

await t.test('Firecracker', async (t) => {
  const card = { iface_id: 'eth0', host_dev_name: 'tap100', guest_mac: mac };
  t.same(firecracker(bridged).interface, { ...card, mtu: 1450 });
  t.same(firecracker(plain).interface, card, 'older ones refuse the word mtu');
  t.same(firecracker(plain, { id: 'net_1' }).networkOverride, { iface_id: 'net_1', host_dev_name: 'tap100' });
  t.equal(firecracker(plain, { id: 'net_1' }).path, '/network-interfaces/net_1');
  t.same(JSON.parse(firecracker(bridged).text), firecracker(bridged).interface);
  t.match(
    refused(() => firecracker(bridged, { version: '1.15' })),
    { field: 'mtu', loss: 'mtu' },
  );
  t.same(firecracker(bridged, { version: '1.15', without: ['mtu'] }).interface, card);
  t.same(firecracker(bridged, { version: '1.16' }).interface, { ...card, mtu: 1450 });
  for (const id of ['', 'a-b', 'a/b'])
    t.match(
      refused(() => firecracker(plain, { id })),
      { field: 'id' },
    );
});

await t.test('Cloud Hypervisor', async (t) => {
  t.same(cloudHypervisor(bridged).args, ['--net', `tap=tap100,mac=${mac},mtu=1450`]);
  t.same(cloudHypervisor(bridged).net, { tap: 'tap100', mac, mtu: 1450 });
  t.same(cloudHypervisor(bridged, { fds: [3, 4], id: 'n0' }).args, ['--net', `fd=[3,4],num_queues=4,mac=${mac},mtu=1450,id=n0`]);
  t.same(cloudHypervisor(bridged, { queues: 2 }).net, { tap: 'tap100', num_queues: 4, mac, mtu: 1450 });
  t.equal(cloudHypervisor({ ...bridged, tap: 'a,"b' }).args[1], `tap="a,""b",mac=${mac},mtu=1450`);
  t.match(
    refused(() => cloudHypervisor({ ...bridged, mtu: 1000 })),
    { field: 'mtu', loss: 'mtu' },
  );
  t.equal(cloudHypervisor({ ...bridged, mtu: 1000 }, { without: ['mtu'] }).args[1], `tap=tap100,mac=${mac}`);
  t.match(
    refused(() => cloudHypervisor(bridged, { fds: [2] })),
    { field: 'fds' },
  );
});

await t.test('cloud-init', async (t) => {
  t.equal(
    cloudInit(bridged).text,
    `version: 2
ethernets:
  "eth0":
    match:
      macaddress: "${mac}"
    set-name: "eth0"
    mtu: 1450
    addresses:
      - "172.17.0.5/16"
    routes:
      - to: "0.0.0.0/0"
        via: "172.17.0.1"
    nameservers:
      addresses:
        - "169.254.77.1"
`,
  );
  t.same(cloudInit(bridged).metaData, { 'local-hostname': 'podname' });
  t.equal(atob(cloudInit(bridged).kernelParameter.replace('network-config=', '')), cloudInit(bridged).text);
  t.match(cloudInit(routed).text, / {6}- to: "0\.0\.0\.0\/0"\n {8}via: "169\.254\.1\.1"\n {8}on-link: true\n/);
  t.match(
    refused(() => cloudInit(routed, { netplan: false })),
    { field: 'gateway.ipv4', loss: 'gateway', message: /version: 1/ },
  );
  t.match(cloudInit(routed, { version: 1 }).text, /address: "172\.17\.0\.5\/32"\n {8}gateway: "169\.254\.1\.1"\n/);
  t.same(fields(cloudInit(routed, { version: 1 })), ['gateway']);
  t.same(fields(cloudInit(dual, { netplan: false })), []);
  t.match(cloudInit([plain, defineGuest({ ...dual, mac: '02:00:00:00:00:01', link: 'net1' })]).networkConfig, {
    ethernets: { eth0: {}, net1: { addresses: ['172.17.0.5/16', 'fd00::5/64'] } },
  });
  t.match(
    refused(() => cloudInit([plain, plain])),
    { field: 'names' },
  );
  t.match(
    refused(() => cloudInit([plain, plain], { names: ['a', 'b'] })),
    { field: 'mac' },
  );
  t.match(
    refused(() => cloudInit(plain, { names: ['a"b'] })),
    { field: 'names' },
  );
  const nowhere = defineGuest({ ...base, addresses: several.addresses, routes: [{ dst: '10.9.0.0/16', type: 'blackhole' }] });
  t.match(cloudInit(nowhere).text, /- to: "10\.9\.0\.0\/16"\n {8}type: "blackhole"\n/);
  t.match(
    refused(() => cloudInit(nowhere, { version: 1 })),
    { loss: 'routes' },
  );
  const legs = defineGuest({ ...base, addresses: several.addresses, routes: [{ dst: '10.9.0.0/16', nexthops: [{ via: '172.17.0.8' }, { via: '172.17.0.9', weight: 2 }] }] }); // prettier-ignore
  t.match(
    refused(() => cloudInit(legs)),
    { loss: 'routes', message: /nexthop via 172\.17\.0\.9/ },
  );
});

await t.test('keywords', async (t) => {
  const template = '--net=<tap> -i <ip>/<cidr> -m <mask> -g <gw> <mac> <mtu> <dns> <other> <html>';
  t.equal(
    keywords(bridged, template).text,
    `--net=tap100 -i 172.17.0.5/16 -m 255.255.0.0 -g 172.17.0.1 ${mac} 1450 169.254.77.1 <other> <html>`,
  );
  t.same(keywords(routed, ['<ip>', '<cidr>', '<gw>']).text, ['172.17.0.5', '32', '169.254.1.1']);
  t.same(keywords(dual, '<ip6>/<cidr6> <gw6>').text, 'fd00::5/64 fd00::1');
  t.same(fields(keywords(dual, '<ip> <gw> <dns>')), ['routes', 'addresses']);
  t.match(keywords(several, '<ip>').untold, [{ field: 'addresses', reason: /^172\.17\.0\.6\/16:/ }, { field: 'dns.servers' }]);
  t.match(keywords(several, '<tap>').untold[0], { reason: /^172\.17\.0\.5\/16, 172\.17\.0\.6\/16:/ });
  t.match(
    refused(() => keywords(several, '<gw>')),
    { field: 'gateway.ipv4', message: /<gw>/ },
  );
  t.equal(keywords({ ...bridged, tap: '$&<ip>' }, '<tap>').text, '$&<ip>', 'a value is no pattern and no template');
});

await t.test('the MTU of the default route, lifetimes, neighbours', async (t) => {
  const narrow = defineGuest({ addresses: plain.addresses, routes: [{ dst: 'default', via: '172.17.0.1', mtu: 1400 }] });
  for (const render of [mirage, rumprun, unikraft, linuxCmdline, dracutCmdline]) {
    t.match(
      refused(() => render(narrow)),
      { field: 'routes', loss: 'mtu', message: /1400/ },
      render.name,
    );
    t.same(fields(render(narrow, { without: ['mtu'] })), ['routes'], render.name);
    t.same(
      fields(render({ ...narrow, mtu: 1400 }, { without: ['mtu'] })).filter((field) => field === 'routes'),
      [],
      render.name,
    );
  }
  t.match(cloudInit(narrow).text, /mtu: 1400/);
  t.match(
    refused(() => cloudInit(narrow, { version: 1 })),
    { loss: 'mtu' },
  );
  const ends = defineGuest({
    addresses: [{ address: '10.0.0.2/24', validLifetime: 60, preferredLifetime: 0 }],
    neighbors: [
      { address: '10.0.0.1', mac, permanent: true },
      { address: '10.0.0.3', mac },
    ],
  });
  t.same(fields(mirage(ends)), ['addresses', 'addresses', 'neighbors']);
  t.match(mirage(ends).untold[2]!.reason, /^10\.0\.0\.1 at /);
});

await t.test('a description that came from somewhere is checked', async (t) => {
  const read = JSON.parse(JSON.stringify(bridged)) as GuestNetwork;
  t.equal(qemu(read).text, qemu(bridged).text);
  const calls = [cloudHypervisor, cloudInit, dracutCmdline, firecracker, linuxCmdline, mirage, qemu, rumprun, solo5, uml, unikraft];
  for (const call of calls)
    for (const wrong of [
      { hostname: 'a b' },
      { mac: 'x' },
      { tap: 'a b' },
      { addresses: [{ address: '1.2.3.4' }] },
      { dns: { servers: ['8'], search: [] } },
    ])
      t.throws(
        () => call({ ...read, ...wrong }),
        { name: 'TypeError', code: 'ERR_INVALID_ARG_VALUE' },
        `${call.name} ${JSON.stringify(wrong)}`,
      );
  t.throws(() => qemu(bridged, { vhots: true } as object), { message: "qemu: there is no option 'vhots'; did you mean 'vhost'?" });
});
