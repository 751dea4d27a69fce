// What is known of a change once another was added to it: getting back needs no more.
import t from 'tap';
import { Images } from '../../lib/state/images.js';

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
});
