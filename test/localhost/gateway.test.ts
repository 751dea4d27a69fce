// Which gateway stands in for another, and what a guest is told then.
import fc from 'fast-check';
import t from 'tap';
import { defineGuest, linuxCmdline, rumprun } from 'podtap/guest';
import { contains } from '../../lib/guest/prefix.js';
import { substituteFor, substituted } from '../../lib/localhost/gateway.js';

const none = new Set<string>();

await t.test('a /32 with a gateway elsewhere', async (t) => {
  t.strictSame(substituteFor('172.17.0.5/32', '169.254.1.1', none), { address: '172.17.0.5/30', gateway: '172.17.0.6', unreachable: ['172.17.0.7', '172.17.0.4'] }); // prettier-ignore
  t.match(substituteFor('172.17.0.6/32', '169.254.1.1', none), { address: '172.17.0.6/30', gateway: '172.17.0.5' });
  t.match(
    substituteFor('172.17.0.4/32', '169.254.1.1', none),
    { address: '172.17.0.4/29', gateway: '172.17.0.6' },
    'not the first of its network',
  );
  t.match(substituteFor('172.17.0.5/32', '169.254.1.1', new Set(['172.17.0.6'])), { address: '172.17.0.5/29', gateway: '172.17.0.4' });
  t.match(substituteFor('172.17.0.5/24', '10.0.0.1', none), { address: '172.17.0.5/30' });
});

await t.test('a gateway inside the subnet is left as it is', async (t) => {
  t.equal(substituteFor('172.17.0.5/16', '172.17.0.1', none), undefined);
});

await t.test('no gateway: the subnet stays, and an address of it that nobody has is one', async (t) => {
  t.strictSame(substituteFor('172.20.0.2/16', undefined, none), { address: '172.20.0.2/16', gateway: '172.20.255.254', unreachable: ['172.20.255.254'] }); // prettier-ignore
  t.throws(() => substituteFor('172.20.0.2/30', undefined, new Set(['172.20.0.1'])), { code: 'ERR_LOCALHOST_NO_RANGE' });
});

await t.test('any address', async () => {
  const octet = fc.integer({ min: 1, max: 254 });
  fc.assert(
    fc.property(
      fc.tuple(octet, octet, octet, octet),
      fc.integer({ min: 8, max: 32 }),
      fc.boolean(),
      fc.array(octet),
      (parts, length, has, taken) => {
        const own = parts.join('.');
        const known = new Set(taken.map((last) => [...parts.slice(0, 3), last].join('.')));
        let found;
        try {
          found = substituteFor(`${own}/${length}`, has ? '203.0.113.77' : undefined, known);
        } catch (error) {
          if ((error as { code?: string }).code === 'ERR_LOCALHOST_NO_RANGE') return;
          throw error;
        }
        if (found === undefined) return;
        const { address, gateway } = found;
        if (!contains(address, gateway) || gateway === own || !contains(address, own)) throw new Error(`${address} ${gateway}`);
        if (!has && known.has(gateway)) throw new Error(`${gateway} is somebody's`);
      },
    ),
  );
});

await t.test('what is told, and that it can be', async (t) => {
  const guest = defineGuest({
    addresses: [{ address: '172.17.0.5/32' }],
    routes: [{ dst: '169.254.1.1/32' }, { dst: 'default', via: '169.254.1.1', onlink: true }, { dst: '10.9.0.0/16', via: '169.254.1.1' }],
    neighbors: [{ address: '169.254.1.1', mac: 'ee:ee:ee:ee:ee:ee', permanent: true }],
  });
  t.throws(() => rumprun({ ...guest, routes: guest.routes.slice(0, 2) }), /gateway/);
  const told = substituted(guest, substituteFor('172.17.0.5/32', '169.254.1.1', none)!);
  t.match(told, {
    addresses: [{ address: '172.17.0.5/30' }],
    gateway: { ipv4: '172.17.0.6' },
    routes: [
      { dst: '0.0.0.0/0', via: '172.17.0.6' },
      { dst: '10.9.0.0/16', via: '172.17.0.6' },
    ],
    substituted: { address: { is: '172.17.0.5/30', instead: '172.17.0.5/32' }, gateway: { is: '172.17.0.6', instead: '169.254.1.1' } },
  });
  t.strictSame(defineGuest(JSON.parse(JSON.stringify(told)) as typeof told), told, 'it survives JSON');
  t.match(linuxCmdline({ ...told, routes: told.routes.slice(0, 1) }).text, /ip=172\.17\.0\.5::172\.17\.0\.6:255\.255\.255\.252:/);
  t.match(rumprun({ ...told, routes: told.routes.slice(0, 1) }).text, /"mask": ?"30"/);
});
