import { placeColumns, replaceColumns, sliceRows, takeColumns } from '../../ops/slice.ts';
import { upload } from '../../tensor/tensor.ts';
import { type Case, EXACT, normal } from '../case.ts';

/** Parts of a matrix whose sizes divide nothing. */
export function sliceCases(): Case[] {
  const [rows, width, first, count] = [65, 257, 3, 5];
  const a = normal(25, rows * width);
  const part = normal(26, rows * count);
  const partOf = (i: number) => part[Math.floor(i / width) * count + (i % width) - first];
  const inside = (i: number) => i % width >= first && i % width < first + count;
  const exact = (name: string, run: Case['run'], want: Case['want']): Case => ({
    op: 'slice',
    name,
    bounds: EXACT,
    run,
    want,
  });
  return [
    exact(
      'take columns',
      (c) => takeColumns(upload(c, a, [rows, width]), first, count),
      () => a.filter((_, i) => inside(i)),
    ),
    exact(
      'place columns',
      (c) => placeColumns(upload(c, part, [rows, count]), first, width),
      () => a.map((_, i) => (inside(i) ? partOf(i) : 0)),
    ),
    exact(
      'replace columns',
      (c) => replaceColumns(upload(c, a, [rows, width]), first, upload(c, part, [rows, count])),
      () => a.map((v, i) => (inside(i) ? partOf(i) : v)),
    ),
    exact(
      'slice rows',
      (c) => sliceRows(upload(c, a, [rows, width]), 2, 7),
      () => a.slice(2 * width, 9 * width),
    ),
  ];
}
