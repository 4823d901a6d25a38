import type { LanguageModel } from '../model/model.ts';
import { countFrom } from '../model/model.ts';
import { newPositionMap } from '../model/position-map.ts';
import type { ReferenceModel } from '../model/reference.ts';
import { takeBytes, upload } from '../tensor/tensor.ts';
import type { UnembeddingBlock } from './certificates/types.ts';
import { type ProbeOptions, type ProbeResult, probe } from './probe.ts';
import { forcedStates, type StateStatistics } from './targets.ts';

/** A text to force, and where. */
export interface ElicitTask {
  /** Token ids that the model is to say, one for each free vector. */
  readonly text: Uint32Array;
  /** Token ids before; default none. */
  readonly prefix?: Uint32Array;
}

/** How to force a text. */
export interface ElicitOptions extends Omit<ProbeOptions, 'layer' | 'from' | 'twin'> {
  /** Logits by which each token is to win; default 2. */
  readonly margin?: number;
  /** Tokens decoded greedily behind the vectors; default 16. */
  readonly continuation?: number;
}

/** What a forced token came to. */
export interface ForcedToken {
  readonly token: number;
  /** Its logit above the next best: in f32 on the adapter, and in float64. Negative where another token wins. */
  readonly margin: number;
  readonly exactMargin: number;
}

/** A text forced by free input vectors. */
export interface Elicitation extends ProbeResult {
  /** The input rows that force it, [n, d], positions included, in f32. */
  readonly rows: Float32Array;
  /** Teacher-forced: token i is the likeliest one after vector i. */
  readonly tokens: readonly ForcedToken[];
  /** Every token is forced, by the adapter's and by float64's logits. */
  readonly forced: boolean;
  /** What the model says when it goes on by itself, each token fed back: the last forced one, and those after it. */
  readonly continuation: Uint32Array;
}

/** Logits by which a forced token is to win, unless told. */
export const MARGIN = 2;
const CONTINUATION = 16;
/** Asked of a target above what is asked of the result: the way there is computed in f32. */
const SPARE = 0.05;

/**
 * Finds vectors that make the model say any text: teacher-forced, vector i makes token i the likeliest one. It is the
 * sequence of vectors that says the text; read freely, the model is held to its first token only (papers.md, section 2,
 * point 5).
 * @param head The output head, as `headPart` reads it.
 * @param natural What states before `ln_f` are like: forced states have their norm.
 * @throws InputError as `probe`, and for a token that no state makes the likeliest.
 */
export async function elicit(
  model: LanguageModel,
  twin: ReferenceModel,
  tasks: readonly ElicitTask[],
  { head, natural }: { readonly head: UnembeddingBlock; readonly natural: StateStatistics },
  { margin = MARGIN, continuation = CONTINUATION, ...options }: ElicitOptions = {},
): Promise<Elicitation[]> {
  const stateFor = forcedStates(head, { centredNorm: natural.centredNorm, margin: margin + SPARE });
  const targets = tasks.map(({ text, prefix }) => ({
    prefix,
    targets: Array.from(text, (token) => stateFor(token).state),
  }));
  const results = await probe(model, targets, { ...options, twin });
  const all: Elicitation[] = [];
  for (const [i, result] of results.entries()) all.push(await judge(model, twin, tasks[i].text, result, continuation));
  return all;
}

async function judge(
  model: LanguageModel,
  twin: ReferenceModel,
  text: Uint32Array,
  result: ProbeResult,
  most: number,
): Promise<Elicitation> {
  const { config, context } = model;
  const { width: d, layers, vocabularySize, contextLength } = config;
  const { prefix, solutions, solved } = result;
  const n = solutions.length;
  if (n === 0)
    return { ...result, rows: new Float32Array(), tokens: [], forced: false, continuation: new Uint32Array() };
  const rows = new Float32Array(n * d);
  solutions.forEach(({ x }, i) => {
    rows.set(x, i * d);
  });
  const extra = Math.max(0, Math.min(most, contextLength - prefix.length - n));
  const map = newPositionMap(model, layers, { capacity: prefix.length + n + extra });
  try {
    const logits = await run(() => {
      if (prefix.length > 0) map.extend(model.embed(prefix, countFrom(0, prefix.length)), segment(prefix.length));
      return model.logits(map.extend(upload(context, rows, [n, d]), segment(n))); // (n, V)
    });
    const held = twin.prefix();
    if (prefix.length > 0) twin.extend(twin.embed(prefix), held);
    const exact = twin.logits(twin.extend(rows, held)); // (n, V)
    const tokens = solutions.map((_, i): ForcedToken => {
      const row = <T extends Float32Array | Float64Array>(of: T) =>
        of.subarray(i * vocabularySize, (i + 1) * vocabularySize);
      return { token: text[i], margin: leadOf(row(logits), text[i]), exactMargin: leadOf(row(exact), text[i]) };
    });
    const spoken = n > 0 ? [argmax(logits.subarray((n - 1) * vocabularySize))] : [];
    for (let i = 0; i < extra && spoken.length > 0; i++) {
      const position = Uint32Array.of(prefix.length + n + i);
      spoken.push(
        argmax(await run(() => model.logits(map.extend(model.embed(Uint32Array.of(spoken[i]), position), segment(1))))),
      );
    }
    const forced =
      solved &&
      tokens.length === text.length &&
      tokens.every(({ margin, exactMargin }) => margin > 0 && exactMargin > 0);
    return { ...result, rows, tokens, forced, continuation: Uint32Array.from(spoken) };
  } finally {
    map.cache.dispose();
  }

  async function run(record: () => ReturnType<typeof model.logits>): Promise<Float32Array> {
    return new Float32Array((await takeBytes([context.scope(record)]))[0]);
  }
}

const segment = (count: number) => [{ slot: 0, count }];

/** How far a token's logit is above the largest of the others. */
function leadOf(logits: Float32Array | Float64Array, token: number): number {
  let next = Number.NEGATIVE_INFINITY;
  for (let v = 0; v < logits.length; v++) if (v !== token) next = Math.max(next, logits[v]);
  return logits[token] - next;
}

function argmax(logits: Float32Array): number {
  let best = 0;
  for (let v = 1; v < logits.length; v++) if (logits[v] > logits[best]) best = v;
  return best;
}
