import { ACTIVATIONS } from '../ops/activation.ts';
import {
  activationCase,
  appendCase,
  attentionCase,
  type Case,
  distanceCase,
  elementwiseCases,
  embeddingCase,
  layernormCase,
  matmulCase,
  softmaxCases,
  type Transposes,
  topkCases,
} from './builders.ts';

const TRANSPOSES: readonly Transposes[] = ['NN', 'NT', 'TN', 'TT'];

/** Every kernel over sizes that divide nothing and sizes that divide everything. */
export function kernelCases(): Case[] {
  const causal = (n: number) => Array.from({ length: n }, (_, t) => t);
  return [
    ...TRANSPOSES.flatMap((t) =>
      (
        [
          [1, 1, 1],
          [3, 5, 7],
          [64, 64, 64],
          [63, 65, 63],
          [20, 100, 48],
          [17, 257, 65],
          [1, 257, 64],
          [2, 128, 60],
        ] as const
      ).map((s) => matmulCase(s, t)),
    ),
    matmulCase([128, 192, 768]),
    matmulCase([5, 20, 3072]),
    matmulCase([65537, 4, 3]),
    ...TRANSPOSES.map((t) => matmulCase([12, 36, 20], t, { batch: 3 })),
    matmulCase([7, 9, 5], 'NT', { batch: 2, shared: true }),
    ...ACTIVATIONS.map((epilogue) => matmulCase([13, 36, 24], 'NN', { epilogue })),
    matmulCase([2, 36, 24], 'NT', { epilogue: 'gelu_new' }),
    matmulCase([5, 7, 3], 'NN', { epilogue: 'gelu', batch: 2 }),
    ...(
      [
        [1, 1],
        [3, 7],
        [65, 63],
        [64, 64],
        [5, 257],
        [65537, 16],
        [2, 3072],
      ] as const
    ).map(([rows, width]) => layernormCase(rows, width)),
    layernormCase(9, 65, 100),
    ...softmaxCases(65, 257, 4),
    ...softmaxCases(3, 1, 1),
    ...softmaxCases(2, 4099, 20),
    ...softmaxCases(65537, 3, 1),
    ...ACTIVATIONS.map(activationCase),
    attentionCase(1, 1, [0], () => 0),
    attentionCase(3, 8, causal(65), () => 0),
    attentionCase(1, 7, causal(9), () => 0),
    attentionCase(5, 6, [0, 3, 1, 7, 7, 7, 7, 7, 2, 129], (r) => r % 3),
    attentionCase(2, 64, [70, 70, 70, 70, 70, 5, 0], (r) => (r < 5 ? 1 : 0)),
    attentionCase(2, 80, causal(130), () => 0),
    attentionCase(2, 4, causal(20), () => 0, 6),
    appendCase(),
    embeddingCase(1, 1, 1, 1, false),
    embeddingCase(65, 97, 33, 97, true),
    embeddingCase(65, 97, 33, 20, true),
    embeddingCase(257, 11, 7, 4, false),
    ...(
      [
        [1, 1],
        [65, 63],
        [257, 192],
        [65537, 3],
      ] as const
    ).map(([rows, width]) => distanceCase(rows, width, false)),
    distanceCase(65, 257, true),
    ...topkCases(3, 65, 5),
    ...topkCases(1, 4097, 16),
    ...topkCases(2, 20011, 50),
    ...topkCases(65, 1, 1),
    ...elementwiseCases(),
  ];
}
