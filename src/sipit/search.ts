import type { LoadedModel } from '../model/load.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { decide } from './decision.ts';
import { embeddingDistances, nearestTokens } from './neighbours.ts';
import type { Policy } from './policy.ts';
import type { RecoveredPrefix } from './prefix.ts';
import type { Candidate, InvertOptions, PositionResult } from './types.ts';

/** Besides itself, this many tokens nearest to the winner by embedding are always tried: its likeliest rivals. */
const RIVALS = 15;

/** What one position is searched with. */
export interface Search {
  readonly model: LoadedModel;
  readonly prefix: RecoveredPrefix;
  readonly policy: Policy;
  readonly batch: number;
  readonly onCandidates: InvertOptions['onCandidates'];
  readonly signal: AbortSignal | undefined;
}

/**
 * Finds the token whose state is the observed one.
 *
 *   1. The policy proposes batches of candidates; each candidate is one row of a forward pass up to the layer.
 *   2. The nearest candidate within the radius ends the search, once its rivals have been tried too.
 *   3. If a rival fits as well, every other token is tried, so that at least the nearest of all is reported.
 *
 * @param observed The state at this position, [1, d].
 * @param radius Distances up to this are explained by rounding and noise.
 * @returns Undefined when the signal fired before anything could be said.
 */
export async function searchPosition(
  { model, prefix, policy, batch, onCandidates, signal }: Search,
  observed: Tensor,
  radius: number,
): Promise<PositionResult | undefined> {
  const { vocabularySize } = model.config;
  const position = prefix.length;
  const tried = new Set<number>();
  let nearest: Candidate[] = []; // the two nearest of the rows evaluated

  async function evaluate(tokens: Uint32Array): Promise<void> {
    const fresh = tokens.filter((token) => !tried.has(token));
    if (fresh.length === 0) return;
    const distances = await prefix.distances(fresh, observed);
    const candidates = Array.from(fresh, (token, i): Candidate => ({ token, distance: distances[i] }));
    for (const { token } of candidates) tried.add(token);
    nearest = [...nearest, ...candidates].sort((a, b) => a.distance - b.distance || a.token - b.token).slice(0, 2);
  }

  let winner = -1; // whose rivals have been tried
  async function tryRivals(): Promise<void> {
    // A rival may turn out to be nearer; then its rivals count.
    while (winner !== nearest[0].token && tried.size < vocabularySize) {
      winner = nearest[0].token;
      await evaluate(await nearestTokens(model, winner, RIVALS + 1));
    }
  }

  const verdict = () => decide(nearest[0], nearest[1], radius);
  const proposals = policy.candidates({
    vocabularySize,
    batch,
    logits: prefix.logits,
    embeddingDistances: () => embeddingDistances(model, observed, position),
  });
  for await (const tokens of proposals) {
    await evaluate(tokens);
    onCandidates?.(position, tried.size, nearest[0]);
    if (signal?.aborted) break;
    if (policy.exhaustive || verdict() === 'not found') continue;
    await tryRivals();
    if (verdict() === 'accepted') break;
  }
  const interrupted = signal?.aborted && tried.size < vocabularySize;
  // Such a search proves nothing: neither that no token fits nor, of an exhaustive one, that no other does.
  if (interrupted && (policy.exhaustive || verdict() !== 'accepted')) return undefined;
  await tryRivals();
  const [best, runnerUp] = nearest as [Candidate, Candidate?];
  return {
    position,
    verdict: verdict(),
    ...best,
    text: model.tokenizer?.token(best.token),
    radius,
    runnerUp,
    margin: runnerUp && runnerUp.distance - best.distance,
    candidates: tried.size,
  };
}
