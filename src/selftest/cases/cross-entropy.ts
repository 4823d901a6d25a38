import { linearize } from '../../autograd/tape.ts';
import type { Context } from '../../gpu/context.ts';
import { crossEntropy } from '../../ops/cross-entropy.ts';
import * as reference from '../../reference/index.ts';
import { seededRandom } from '../../reference/random.ts';
import { type Tensor, upload } from '../../tensor/tensor.ts';
import { BOUNDS, type Case, normal } from '../case.ts';

/** Value, gradient and tangent over normal logits around `offset`; every fifth row does not count. */
function casesOver(rows: number, vocabulary: number, { std = 2, offset = 0 } = {}): Case[] {
  const logits = normal(40, rows * vocabulary, std).map((v) => v + offset);
  const dlogits = normal(41, rows * vocabulary);
  const random = seededRandom(42);
  const labels = Int32Array.from({ length: rows }, (_, r) =>
    r % 5 === 4 ? reference.IGNORE_INDEX : Math.floor(random.next() * vocabulary),
  );
  const matrix = (c: Context, values: Float32Array) => upload(c, values, [rows, vocabulary]);
  const loss = (z: Tensor) => crossEntropy(z, labels);
  const named = (what: string, run: Case['run'], want: Case['want']): Case => ({
    op: 'cross-entropy',
    name: `${what}${rows}x${vocabulary}${offset ? ` around ${offset}` : ''}`,
    bounds: BOUNDS,
    run,
    want,
  });
  return [
    named(
      '',
      (c) => loss(matrix(c, logits)),
      () => [reference.crossEntropy(logits, labels)],
    ),
    named(
      'vjp ',
      (c) => linearize(loss, [matrix(c, logits)]).vjp(upload(c, Float32Array.of(rows)))[0],
      () => reference.crossEntropyVjp(rows, logits, labels),
    ),
    named(
      'jvp ',
      (c) => linearize(loss, [matrix(c, logits)]).jvp([matrix(c, dlogits)]),
      () => [reference.crossEntropyJvp(dlogits, logits, labels)],
    ),
  ];
}

/** Small vocabularies and that of GPT-2, few rows and many, logits far from zero. */
export const crossEntropyCases = (): Case[] => [
  ...casesOver(1, 1),
  ...casesOver(3, 11),
  ...casesOver(65, 257),
  ...casesOver(7, 50257),
  ...casesOver(65537, 3).slice(-1), // the tangent: of both row kernels
  ...casesOver(9, 65, { offset: 1000 }),
  ...casesOver(9, 65, { std: 50 }),
];
