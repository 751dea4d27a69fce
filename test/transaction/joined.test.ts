// What is known of a change once it is finished, another was added to it, or one beside it is undone: getting back needs no more.
import t from 'tap';
import { Holder } from '../../lib/state/holder.js';
import { Images } from '../../lib/state/images.js';
import { type Resource, kindOfKey } from '../../lib/state/resource.js';
import { State } from '../../lib/state/snapshot.js';

const of = (touched: Readonly<Record<string, readonly [before: string | undefined, after: string | undefined]>>): Images => {
  const images = new Images();
  for (const [key, [before, after]] of Object.entries(touched)) images.touch(key, before, [after]);
  return images;
};
const told = (images: Images): Record<string, unknown> =>
  Object.fromEntries([...images.touched].map(([key, { before, after }]) => [key, [before, ...(after === 'any' ? ['any'] : after)]]));

await t.test('what both have touched is as it was at first, and as the later one has left it', async (t) => {
  const first = of({ 'sysctl/a': ['0', '1'], 'sysctl/b': ['0', '1'], 'sysctl/c': [undefined, 'x'] });
  const later = of({ 'sysctl/a': ['1', '2'], 'sysctl/c': ['x', undefined], 'sysctl/d': ['7', '8'] });
  t.strictSame(told(first.joined(later)), { 'sysctl/a': ['0', '2'], 'sysctl/b': ['0', '1'], 'sysctl/d': ['7', '8'] });
});

await t.test('what a stranger had in between is not taken for ours', async (t) => {
  // The later change found 5, and not the 1 that the first had left.
  const joined = of({ 'sysctl/a': ['0', '1'] }).joined(of({ 'sysctl/a': ['5', '6'] }));
  t.strictSame(told(joined), { 'sysctl/a': ['0', '6'] }, 'it was 0 before both');
});

await t.test('interfaces that are deleted are forgotten, with what hung on them', async (t) => {
  const first = of({ 'link/7': [undefined, 'tap7'], 'tcx/7/ingress/a/1': [undefined, 'a'], 'link/8': [undefined, 'tap8'] });
  t.strictSame(told(first.joined(of({}), new Set([7]))), { 'link/8': [undefined, 'tap8'] });
});

await t.test('the order of a group is the first one that was seen', async (t) => {
  const first = of({ 'route/a': ['x', undefined] });
  first.orders.set('g', ['route/a', 'route/b']);
  const later = of({ 'route/b': ['y', undefined] });
  later.orders.set('g', ['route/b']);
  t.strictSame(first.joined(later).orders.get('g'), ['route/a', 'route/b']);
  first.add(later);
  t.strictSame(first.orders.get('g'), ['route/a', 'route/b']);
});

await t.test('how a change has left things: what is as it was is not remembered, and no guess is left', (t) => {
  const images = of({ 'sysctl/a': ['0', '1'], 'sysctl/b': ['0', '1'], 'route/g|x': ['x', undefined], 'route/h|y': ['y', undefined] });
  images.touch('sysctl/c', undefined, 'any');
  images.touch('sysctl/b', '1', ['2']); // later: it was 0 before both
  images.additions.set('rule/ipv4/', ['rule/ipv4/7|old']);
  images.orders.set('route/g', ['route/g|x', 'route/g|z']);
  images.orders.set('route/h', ['route/h|y']);
  const there = (key: string, value: string): Resource => ({ kind: kindOfKey(key), key, value });
  const state = new State([], [there('sysctl/a', '0'), there('sysctl/b', '2'), there('sysctl/c', 'c'), there('rule/ipv4/7|old', 'old'), there('rule/ipv4/8|new', 'new'), there('route/h|y', 'y')], new Set(), 0); // prettier-ignore
  const exact = images.observed(state);
  // Of 'a' whoever changes it now changes nothing of ours: nobody need be told of it.
  t.strictSame(told(exact), { 'sysctl/b': ['0', '2'], 'route/g|x': ['x', undefined], 'sysctl/c': [undefined, 'c'], 'rule/ipv4/8|new': [undefined, 'new'] }); // prettier-ignore
  t.strictSame([...exact.orders.keys()], ['route/g'], 'nor in what order things stand of which none is gone');
  t.equal(exact.additions.size, 0);
  t.end();
});

await t.test('what another change holds, it gets', (t) => {
  const of6 = (key: string, value: object): Resource => ({ kind: kindOfKey(key), key, value: value as Resource['value'] });
  const route = { dst: '10.9.0.0/24', src: '10.1.0.2' };
  const by = (via: string): Resource['value'] => ({ dst: '10.9.0.0/24', via });
  const taken = new Images();
  taken.touch('address/3/10.1.0.2/24', { address: '10.1.0.2/24' }, [undefined]);
  taken.touch('address/3/10.7.0.2/32 peer 10.7.0.1', { address: '10.7.0.2/32', peer: '10.7.0.1' }, [undefined]);
  taken.touch('address/3/fd00::2/64', { address: 'fd00::2/64' }, [undefined]);
  taken.touch('route/254/10.8.0.0/16/0/0/|unicast|%3', { dst: '10.8.0.0/16' }, [undefined]);
  taken.touch('route/254/0.0.0.0/0/0/0/|unicast|10.1.0.1%3', { dst: '0.0.0.0/0', via: '10.1.0.1' }, [undefined]);
  taken.touch('address/3/10.6.0.2/24', undefined, [{ address: '10.6.0.2/24' }]);
  const bare = new State([], [], new Set(), 0);
  const needs = (value: Resource['value'], state = bare): string | undefined => new Holder(taken, true).receive('route/g|r', value, new Images(), state); // prettier-ignore
  t.equal(needs(route), 'address/3/10.1.0.2/24');
  t.equal(needs(by('10.1.0.254')), 'address/3/10.1.0.2/24', 'a gateway in its subnet');
  t.equal(needs({ dst: '10.9.0.0/24', nexthops: [{ via: '10.2.0.1' }, { via: '10.1.0.1' }] }), 'address/3/10.1.0.2/24');
  t.equal(needs(by('10.7.0.1')), 'address/3/10.7.0.2/32 peer 10.7.0.1', 'at the other end');
  t.equal(needs(by('10.7.0.2')), undefined);
  t.equal(needs(by('10.8.0.1')), 'route/254/10.8.0.0/16/0/0/|unicast|%3', 'behind a route');
  t.equal(needs(by('10.6.0.1')), undefined, 'of what was made nothing comes back');
  t.equal(needs({ dst: 'fd09::/64', via: 'fd00::1' }), 'address/3/fd00::2/64');
  t.equal(needs({ dst: '10.9.0.0/24', via: 'fd00::1' }), 'address/3/fd00::2/64', 'of the other family, too');
  t.equal(needs(by('10.5.0.1')), undefined);
  t.equal(needs({ dst: '10.9.0.0/24' }), undefined);
  const back = new State([], [of6('address/3/10.1.0.2/24', { address: '10.1.0.2/24' })], new Set(), 0);
  t.equal(needs(route, back), undefined, 'what is there is not what it lacks');

  const holder = new Holder(taken, true);
  t.equal(holder.changed, undefined);
  const images = of({ 'route/g|r': ['r', undefined] });
  images.orders.set('route/g', ['route/g|q', 'route/g|r']);
  holder.receive('route/g|r', route, images, bare);
  t.strictSame(holder.changed!.touched.get('route/g|r'), { before: route, after: [undefined] });
  t.strictSame(holder.changed!.orders.get('route/g'), ['route/g|q', 'route/g|r']);
  t.notOk(taken.touched.has('route/g|r'), 'as it was read it stays');
  t.end();
});

await t.test('what a younger change has changed again leads to what was before both', (t) => {
  const own = { a: ['0', '1'], b: ['0', '1'], c: ['0', '1'], d: ['0', '1'] } as const;
  const younger = { a: ['1', '2'], b: ['1', '0'], c: ['7', '8'], e: ['1', '2'] } as const;
  const keyed = (all: Readonly<Record<string, readonly [string, string]>>): Images => of(Object.fromEntries(Object.entries(all).map(([key, image]) => [`sysctl/${key}`, image]))); // prettier-ignore
  const now = (values: Readonly<Record<string, string>>): State => new State([], Object.entries(values).map(([key, value]) => ({ kind: 'sysctl', key: `sysctl/${key}`, value })), new Set(), 0); // prettier-ignore
  const state = now({ a: '2', b: '0', c: '8', d: '1', e: '2' });
  const holder = new Holder(keyed(younger), false);
  t.strictSame(told(holder.relieve(keyed(own), state)), { 'sysctl/c': ['0', '1'], 'sysctl/d': ['0', '1'] });
  const after = { 'sysctl/a': ['0', '2'], 'sysctl/b': ['0', '0'], 'sysctl/c': ['7', '8'], 'sysctl/e': ['1', '2'] };
  t.strictSame(told(holder.changed!), after);
  // Once more, after a crash.
  const again = new Holder(holder.changed!, false);
  t.strictSame(told(again.relieve(keyed(own), state)), { 'sysctl/c': ['0', '1'], 'sysctl/d': ['0', '1'] });
  t.equal(again.changed, undefined);
  t.strictSame(told(new Holder(keyed(younger), true).relieve(keyed(own), state)), told(keyed(own)), 'an older one has not');
  const stranger = new Holder(keyed(younger), false);
  t.ok(stranger.relieve(keyed(own), now({ a: '9' })).touched.has('sysctl/a'), 'what a stranger has made of it is told');
  t.equal(stranger.relieve(keyed({ a: ['0', '1'] }), now({ a: '1' })).touched.size, 1, 'and what is there of it is undone');

  const group = (...keys: string[]): Images => {
    const images = of({ [keys[0]!]: ['x', undefined] });
    images.orders.set('g', keys);
    return images;
  };
  for (const [isOlder, order] of [[false, ['p', 'q', 'r']], [true, ['r', 'q', 'p']]] as const) {
    const one = new Holder(group('r', 'q'), isOlder);
    one.relieve(group('p', 'q'), state);
    t.strictSame(one.changed!.orders.get('g'), order);
  } // prettier-ignore
  const same = new Holder(group('p', 'q'), false);
  same.relieve(group('p', 'q'), state);
  t.equal(same.changed, undefined);
  t.end();
});
