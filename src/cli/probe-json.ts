import type { LoadedModel } from '../model/load.ts';
import type { Finding, Solve } from '../probe/findings.ts';
import type { Stage } from '../probe/solve.ts';
import type { Stop } from './probe-view.ts';

/** What `preimage probe --json` prints: one line for each solve. Residuals are |F(x) - y| / |y|; null where unknown. */
export interface SolveJson {
  /** `text`, `random 0`, or the name of the record of states. */
  readonly name: string;
  /** All targets are reached (residual in float64 at most 1e-5), and all tokens of a text forced. */
  readonly solved: boolean;
  /** Why it ended early: `stopped` (Ctrl-C) or `budget`; what is found so far stands in `vectors`, not certified. */
  readonly stop?: Stop;
  /** Where targets and free vectors stand, in half blocks: 2.5 is between the attention and the MLP of block 2. */
  readonly layer: number;
  readonly from: number;
  /** Token ids before the first free vector. */
  readonly prefix: readonly number[];
  /** Of a text: its token ids, and what the model says by itself behind the vectors, the last forced token first. */
  readonly text?: readonly number[];
  readonly continuation?: { readonly tokens: readonly number[]; readonly text?: string };
  /** Free vectors asked for. */
  readonly wanted: number;
  readonly vectors: readonly VectorJson[];
  /** Digest of the weights. */
  readonly model: string;
}

/** One free vector of a solve. */
export interface VectorJson {
  readonly position: number;
  readonly reached: boolean;
  /** In f32 on the adapter, and in float64 on the CPU. */
  readonly residual: number | null;
  readonly exactResidual: number;
  /** Evaluations and derivatives along one vector, of one step each; whole Jacobians, counted as 1 + d rows. */
  readonly rows: number;
  readonly jacobians: number;
  /** Sweeps of refinement through all steps. */
  readonly refinements: number;
  /** Of a text: logits by which the token is ahead, in f32 and in float64. */
  readonly forced?: {
    readonly token: number;
    readonly text?: string;
    readonly margin: number;
    readonly exactMargin: number;
  };
  /** The sub-blocks, last first, as they were solved. */
  readonly steps: readonly {
    /** `h.3.mlp` */
    readonly name: string;
    /** The stage that found the preimage; null where none did. */
    readonly stage: Stage | null;
    readonly residual: number;
    /** |x - y|, and M, which it cannot exceed. */
    readonly distance: number;
    readonly bound: number;
    /** Sign of det Dg at the preimage; of the first vectors only, unless --signs asks for more. */
    readonly sign?: number;
    readonly folds: number;
    readonly rejected: number;
    readonly jumps: number;
    readonly restarts: number;
  }[];
  /** Vocabulary rows next to the vector, distances in root mean squares of row lengths; empty unless at the input. */
  readonly nearest: readonly { readonly token: number; readonly text?: string; readonly distance: number }[];
  /** |x| in the same unit. */
  readonly length?: number;
  /** What the model says there, in float64; `margin`: above the next logit. */
  readonly decoded: readonly {
    readonly token: number;
    readonly text?: string;
    readonly logit: number;
    readonly margin: number;
  }[];
}

/** A solve as JSON. */
export function solveJson(
  { name, solved, prefix, text, continuation, wanted, findings }: Solve,
  facts: { readonly layer: number; readonly from: number; readonly digest: string; readonly stop: Stop | undefined },
  { tokenizer }: Pick<LoadedModel, 'tokenizer'>,
): SolveJson {
  const textOf = (token: number) => tokenizer && { text: tokenizer.token(token) };
  const { layer, from, digest, stop } = facts;
  return {
    name,
    solved,
    ...(stop && !solved && { stop }),
    layer,
    from,
    prefix: [...prefix],
    ...(text && { text: [...text] }),
    ...(continuation && {
      continuation: { tokens: [...continuation], ...(tokenizer && { text: tokenizer.decode(continuation) }) },
    }),
    wanted,
    vectors: findings.map((finding) => vectorJson(finding, textOf)),
    model: digest,
  };
}

function vectorJson(finding: Finding, textOf: (token: number) => { text: string } | undefined): VectorJson {
  const { position, reached, residual, exactResidual, rows, jacobians, refinements, forced, length } = finding;
  return {
    position,
    reached,
    residual: Number.isFinite(residual) ? residual : null,
    exactResidual,
    rows,
    jacobians,
    refinements,
    ...(forced && { forced: { ...forced, ...textOf(forced.token) } }),
    steps: finding.steps.map(({ stage = null, path: _, ...step }) => ({ ...step, stage })),
    nearest: finding.nearest.map((row) => ({ ...row, ...textOf(row.token) })),
    ...(length !== undefined && { length }),
    decoded: finding.decoded.map((one) => ({ ...one, ...textOf(one.token) })),
  };
}
