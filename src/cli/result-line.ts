import type { PreimageError } from '../errors.ts';
import type { Inversion, Noise } from '../sipit/types.ts';
import { errorReport } from './failure.ts';
import { type Entry, statesDigest } from './inputs.ts';

/** What results depend on besides the states; a file of results is gone on with by the same only. */
export interface RunSettings {
  /** Digest of the weights. */
  readonly model: string;
  readonly policy: string;
  readonly noise?: Noise;
  readonly prove?: boolean;
  readonly layer?: number | 'auto';
}

/** What identifies an entry in a file of results. */
export interface EntryKey {
  readonly file: string;
  readonly name?: string;
  /** Digest of the states. */
  readonly states?: string;
}

export const keyOf = ({ file, name, record }: Entry): EntryKey => ({
  file,
  name,
  states: record && statesDigest(record),
});

/** A record's line in a file of results, and with `--json` on standard output. */
export function resultLine(entry: Entry, run: RunSettings, inversion: Inversion, stopped: boolean): object {
  const { file, name, states } = keyOf(entry);
  const isUnproven = run.prove === true && inversion.scope !== 'vocabulary';
  const isCut = stopped && (inversion.positions.length < inversion.length || isUnproven);
  return { file, name, ...jsonResult(inversion), ...(isCut && { stopped: true }), states, run };
}

/** The line of an entry that could not be inverted. */
export function errorLine(entry: Entry, run: RunSettings, error: PreimageError): object {
  const { file, name, states } = keyOf(entry);
  return { file, name, ...errorReport(error), states, run };
}

/** The result as `--json` prints it. */
export function jsonResult(inversion: Inversion) {
  const { text, tokens, exact, layer, policy, scope, noise, length, positions, cost } = inversion;
  return {
    text,
    tokens,
    exact,
    layer,
    policy,
    scope,
    noise,
    length,
    positions: positions.map((result) => {
      const { token, text, verdict, reason, distance, radius, runnerUp, othersBeyond, margin, candidates, rivals } =
        result;
      return { token, text, verdict, reason, distance, radius, runnerUp, othersBeyond, margin, candidates, rivals };
    }),
    cost,
  };
}

/** The inversion that a line was made of. */
export function inversionOf({ positions, ...rest }: ReturnType<typeof jsonResult>): Inversion {
  return { ...rest, positions: positions.map((result, position) => ({ position, ...result })) };
}
