import { scorerKernels } from '../lens/scorer.ts';
import type { LanguageModel } from '../model/model.ts';
import { forwardKernels } from '../model/warm-up.ts';

/**
 * Compiles what an inversion runs, in parallel, so that it waits for nothing: forward passes, candidates, and the scores
 * of the lens. Corrections and searches by other policies compile what little they need besides when they need it.
 * @param onProgress Called after each kernel with the number done and the total.
 * @throws ShaderError
 */
export async function warmUpInverter(
  model: LanguageModel,
  onProgress?: (done: number, total: number) => void,
): Promise<void> {
  await model.context.pipelines.warmUp([...forwardKernels(model), ...scorerKernels(model)], onProgress);
}
