import type { Case } from './case.ts';
import { activationCases } from './cases/activation.ts';
import { attentionCases } from './cases/attention.ts';
import { crossEntropyCases } from './cases/cross-entropy.ts';
import { distanceCases } from './cases/distance.ts';
import { dotRowsCases } from './cases/dot-rows.ts';
import { elementwiseCases } from './cases/elementwise.ts';
import { embeddingCases } from './cases/embedding.ts';
import { layernormCases } from './cases/layernorm.ts';
import { matmulCases } from './cases/matmul.ts';
import { optimizerCases } from './cases/optimizer.ts';
import { pairDistancesCases } from './cases/pair-distances.ts';
import { reduceCases } from './cases/reduce.ts';
import { sliceCases } from './cases/slice.ts';
import { softmaxCases } from './cases/softmax.ts';
import { topkCases } from './cases/topk.ts';

/** Every kernel over sizes that divide nothing and sizes that divide everything. */
export const kernelCases = (): Case[] => [
  ...matmulCases(),
  ...layernormCases(),
  ...softmaxCases(),
  ...crossEntropyCases(),
  ...activationCases(),
  ...attentionCases(),
  ...embeddingCases(),
  ...distanceCases(),
  ...dotRowsCases(),
  ...topkCases(),
  ...pairDistancesCases(),
  ...elementwiseCases(),
  ...reduceCases(),
  ...sliceCases(),
  ...optimizerCases(),
];
