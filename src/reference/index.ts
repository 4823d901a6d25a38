/** Every operation in plain float64: the definition of correct. */
export * from './activation.ts';
export * from './attention.ts';
export * from './cross-entropy.ts';
export * from './distance.ts';
export * from './dot-rows.ts';
export * from './elementwise.ts';
export * from './embedding.ts';
export * from './layernorm.ts';
export * from './matmul.ts';
export * from './optimizer.ts';
export * from './pair-distances.ts';
export * from './reduce.ts';
export * from './softmax.ts';
export * from './topk.ts';
