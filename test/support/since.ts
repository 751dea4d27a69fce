import { release } from 'node:os';

/** Whether the kernel is that version or a newer one: for what there is no asking without doing it. */
export function since(major: number, minor: number): boolean {
  const [ours, its] = release().split('.').map(Number) as [number, number];
  return ours > major || (ours === major && its >= minor);
}
