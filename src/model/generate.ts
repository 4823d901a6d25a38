import { InputError } from '../errors.ts';
import { sliceRows } from '../ops/slice.ts';
import { seededRandom } from '../reference/random.ts';
import { take } from '../tensor/tensor.ts';
import { checkIds, countFrom, type LanguageModel } from './model.ts';
import { newPositionMap } from './position-map.ts';

/** How to sample. */
export interface GenerateOptions {
  /** Tokens to generate; default what the context leaves. */
  readonly maxTokens?: number;
  /** 0 (the default) takes the most likely token each time. */
  readonly temperature?: number;
  /** Sample among the k most likely only. */
  readonly topK?: number;
  /** Sample among the most likely tokens that together hold this share of the probability, in (0, 1]. */
  readonly topP?: number;
  /** Same seed, same text on the same adapter. */
  readonly seed?: number;
  readonly signal?: AbortSignal;
}

/**
 * Continues a prompt, token by token.
 * @returns The id of each new token; ends at `maxTokens`, at the end of the context, or when the signal fires.
 * @throws InputError, at once, for a prompt or options that cannot be used.
 */
export function generate(
  model: LanguageModel,
  prompt: Uint32Array,
  options: GenerateOptions = {},
): AsyncGenerator<number, void> {
  checkIds(model.config, prompt);
  return sample(model, prompt, sampler(options), options);
}

async function* sample(
  model: LanguageModel,
  prompt: Uint32Array,
  choose: ReturnType<typeof sampler>,
  { maxTokens = Number.POSITIVE_INFINITY, seed = 0, signal }: GenerateOptions,
): AsyncGenerator<number, void> {
  const { context, config } = model;
  const random = seededRandom(seed);
  const count = Math.min(maxTokens, config.contextLength - prompt.length);
  const map = newPositionMap(model, config.layers, { capacity: prompt.length + count });
  try {
    let next = prompt;
    for (let made = 0; made < count && !signal?.aborted; made++) {
      const logits = context.scope(() => {
        const rows = model.embed(next, countFrom(map.cache.lengths[0], next.length));
        const states = map.extend(rows, [{ slot: 0, count: next.length }]);
        return model.logits(sliceRows(states, next.length - 1, 1));
      });
      const values = await take(logits);
      if (signal?.aborted) return;
      const token = choose(values, random.next);
      yield token;
      next = Uint32Array.of(token);
    }
  } finally {
    map.cache.dispose();
  }
}

/** @throws InputError for options outside their range. */
function sampler({
  maxTokens,
  temperature = 0,
  topK,
  topP = 1,
}: GenerateOptions): (logits: Float32Array, random: () => number) => number {
  const expect = (ok: boolean, what: string, cure: string) => {
    if (!ok) throw new InputError(what, cure);
  };
  const isCount = (n: number | undefined, least: number) => n === undefined || (Number.isInteger(n) && n >= least);
  expect(isCount(maxTokens, 0), `The number of tokens to generate is ${maxTokens}.`, 'Use 0 or more.');
  expect(
    temperature >= 0 && Number.isFinite(temperature),
    `The temperature is ${temperature}.`,
    'Use 0 or more; 0 is greedy.',
  );
  expect(isCount(topK, 1), `top-k is ${topK}.`, 'Use 1 or more.');
  expect(topP > 0 && topP <= 1, `top-p is ${topP}.`, 'Use more than 0 and at most 1.');
  return (logits, random) => {
    if (temperature === 0) return logits.reduce((best, logit, token) => (logit > logits[best] ? token : best), 0);
    const order = orderByLogit(logits);
    const kept = order.subarray(0, topK ?? order.length);
    const best = logits[kept[0]];
    const weights = Float64Array.from(kept, (token) => Math.exp((logits[token] - best) / temperature));
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    let nucleus = 0;
    for (let mass = 0; nucleus < weights.length && mass < topP * total; nucleus++) mass += weights[nucleus];
    const mass = weights.subarray(0, nucleus).reduce((sum, weight) => sum + weight, 0);
    let left = random() * mass;
    for (let i = 0; i < nucleus; i++) {
      left -= weights[i];
      if (left < 0) return kept[i];
    }
    return kept[nucleus - 1];
  };
}

/** Token ids by falling logit; ties by the lower id. */
export function orderByLogit(logits: ArrayLike<number>): Uint32Array {
  return Uint32Array.from({ length: logits.length }, (_, token) => token).sort(
    (a, b) => logits[b] - logits[a] || a - b,
  );
}
