import { norm } from '../linalg/vector.ts';
import { truncate } from '../model/reference.ts';
import { attentionBound, mlpBound } from './branch-bound.ts';
import { attentionPart, type ModelParameters, mlpPart } from './certificates/model-parts.ts';
import type { ForcedToken } from './elicit.ts';
import { type Nearest, nearestRows, rowLength } from './inspect.ts';
import type { Probed, ProbeResult } from './probe.ts';
import type { Vector } from './requests.ts';
import type { Span } from './signs.ts';
import type { StepReport } from './solve.ts';

/** What is known of one step at one free vector. */
export interface StepFinding extends StepReport {
  /** M: every preimage of y under the step lies within it. */
  readonly bound: number;
  /** The sign of det Dg at the preimage, where it was asked for. */
  readonly sign?: number;
}

/** A token as the model would decode it, and how far its logit is above the next one's. */
export interface DecodedToken {
  readonly token: number;
  readonly logit: number;
  readonly margin: number;
}

/** A free vector, with all that is said of it. */
export interface Finding {
  readonly position: number;
  /** Every step was solved, and the residual in float64 is at most `REACHED`. */
  readonly reached: boolean;
  /** |F(x) - y| / |y|, in f32 on the adapter; infinite where the solve was cut short. */
  readonly residual: number;
  /** The same in float64, of the vector in f32: as the file of vectors has it. */
  readonly exactResidual: number;
  readonly rows: number;
  readonly jacobians: number;
  readonly refinements: number;
  /** Last step first, as they were solved. */
  readonly steps: readonly StepFinding[];
  /** The vocabulary rows nearest to the vector; empty unless it stands at the input. */
  readonly nearest: readonly Nearest[];
  /** |x| in units of the vocabulary rows' root mean square; absent unless it stands at the input. */
  readonly length?: number;
  /** What the model says there, in float64, the likeliest first. */
  readonly decoded: readonly DecodedToken[];
  readonly forced?: ForcedToken;
  /** [d] in f32; where it stands at the input without its position's row, as `inputs_embeds` takes it. */
  readonly vector: Float32Array;
  readonly target: Vector;
}

/** A task with what was found for it. */
export interface Solve {
  readonly name: string;
  readonly prefix: Uint32Array;
  /** Free vectors asked for. */
  readonly wanted: number;
  readonly findings: readonly Finding[];
  /** All targets are reached; of a text, all tokens are forced. */
  readonly solved: boolean;
  /** The token ids to force. */
  readonly text?: Uint32Array;
  /** What the model then says by itself, the last forced token first. */
  readonly continuation?: Uint32Array;
}

/** |F(x) - y| / |y| up to which a target counts as reached. */
export const REACHED = 1e-5;
const NEAREST = 3;
const DECODED = 5;

/** A prober's notebook: looks at results in float64, one after another. */
export interface Inspector {
  /** @param signs As `signsOf` returns them. @param forced As `elicit` returns them. */
  inspect(
    result: ProbeResult,
    more?: { readonly signs?: readonly (readonly number[])[]; readonly forced?: readonly ForcedToken[] },
  ): Promise<Finding[]>;
  /** The rows of a prefix as the model's input has them before positions are added, and their states at the target's place. */
  prefixRows(prefix: Uint32Array): { rows: Float32Array; states: Float32Array };
  /** The vocabulary, [V, d]. */
  readonly vocabulary: Float32Array;
}

/** @param model Of the results; it is read from its files, not from the GPU. */
export async function inspector(model: ModelParameters, { layer, from }: Span): Promise<Inspector> {
  const { width: d, layers, vocabularySize } = model.config;
  const twin = await model.reference();
  const [vocabulary, positions] = await Promise.all([model.parameter('wte.weight'), model.parameter('wpe.weight')]);
  const bounds = new Map<string, Promise<(values: ArrayLike<number>) => number>>();
  const held = new Map<string, ReturnType<typeof twin.prefix>>(); // by prefix

  function prefixOf(prefix: Uint32Array) {
    const key = prefix.join();
    const known = held.get(key);
    if (known) {
      truncate(known, prefix.length);
      return known;
    }
    const fresh = twin.prefix();
    if (prefix.length > 0) twin.extend(twin.embed(prefix), fresh);
    held.set(key, fresh);
    return fresh;
  }

  async function boundOf(name: string, values: Float64Array): Promise<number> {
    const bound = bounds.get(name) ?? boundFor(model, name);
    bounds.set(name, bound);
    return (await bound)(values);
  }

  async function findingOf(
    { x, target, position, solved, residual, refinements, steps, work }: Probed,
    seen: ReturnType<typeof twin.prefix>,
    signs: readonly number[] | undefined,
    forced: ForcedToken | undefined,
  ): Promise<Finding> {
    const isInput = from === 0;
    const vector = Float32Array.from(x, (value, i) => value - (isInput ? positions[position * d + i] : 0));
    const state = twin.states(Float32Array.from(x), seen, layer, from);
    const exactResidual = norm(state.map((value, i) => value - target[i])) / norm(target);
    const found: StepFinding[] = [];
    for (const [i, step] of steps.entries()) {
      const block = Number(/\d+/.exec(step.name)![0]);
      const bound = await boundOf(step.name, seen.layers[block].values.subarray(0, seen.length * d));
      const sign = signs?.[signs.length - 1 - i];
      found.push({ ...step, bound, ...(sign !== undefined && { sign }) });
    }
    return {
      position,
      reached: solved && exactResidual <= REACHED,
      residual,
      exactResidual,
      rows: work.rows,
      jacobians: work.jacobians,
      refinements,
      steps: found,
      nearest: isInput ? nearestRows(vocabulary, Float64Array.from(vector), NEAREST) : [],
      ...(isInput && { length: rowLength(vocabulary, Float64Array.from(vector)) }),
      decoded: likeliest(twin.logits(twin.states(state, seen, layers, layer))),
      ...(forced && { forced }),
      vector,
      target,
    };
  }

  return {
    vocabulary,
    async inspect({ prefix, solutions }, { signs, forced } = {}) {
      const seen = prefixOf(prefix);
      const findings: Finding[] = [];
      for (const [i, solution] of solutions.entries()) {
        findings.push(await findingOf(solution, seen, signs?.[i], forced?.[i]));
        if (from === 0) twin.extend(Float32Array.from(solution.x), seen);
      }
      return findings;
    },
    prefixRows(prefix) {
      const rows = new Float32Array(prefix.length * d);
      prefix.forEach((id, i) => {
        rows.set(vocabulary.subarray(id * d, (id + 1) * d), i * d);
      });
      if (prefix.length === 0) return { rows, states: new Float32Array() };
      const seen = prefixOf(prefix);
      truncate(seen, 0);
      const states = new Float32Array(rows.length);
      for (const [i, id] of prefix.entries()) {
        const row = twin.embed([id], i);
        states.set(twin.states(row, seen, layer), i * d);
        twin.extend(row, seen);
      }
      return { rows, states };
    },
  };

  function likeliest(logits: Float64Array): DecodedToken[] {
    const order = Array.from({ length: vocabularySize }, (_, token) => token).sort((a, b) => logits[b] - logits[a]);
    return order.slice(0, Math.min(DECODED, vocabularySize - 1)).map((token, i) => ({
      token,
      logit: logits[token],
      margin: logits[token] - logits[order[i + 1]],
    }));
  }
}

/** M of a sub-block as a function of the values of its prefix. @param name Such as `h.3.mlp`. */
async function boundFor(model: ModelParameters, name: string): Promise<(values: ArrayLike<number>) => number> {
  if (name.endsWith('.attn')) return attentionBound(await attentionPart(model, { part: name, values: [] }));
  const { norm, ...block } = await mlpPart(model, name);
  const bound = mlpBound({ ...block, norm: norm! });
  return () => bound;
}
