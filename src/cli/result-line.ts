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
  /** Of a shard: i/n. */
  readonly shard?: string;
  /** Of a shard: digest of the job's files (`inputsDigest`), in which all shards must agree. */
  readonly inputs?: string;
}

/** What identifies an entry in a file of results. */
export interface EntryKey {
  readonly file: string;
  readonly name?: string;
  /** Digest of the states. */
  readonly states?: string;
  /** Its number in the whole job, from 0; kept in the lines of shards. */
  readonly number?: number;
}

export const keyOf = ({ file, name, record, number }: Entry): EntryKey => ({
  file,
  name,
  states: record && statesDigest(record),
  number,
});

/** What puts a shard's line into its place: the record's number, and whether it is the last of the job. */
const placeOf = ({ number, isLast }: Entry, { shard }: RunSettings) =>
  shard === undefined ? undefined : { number, ...(isLast && { last: true }) };

/** A shard's line as one run over all records would have written it. */
export function wholeLine<T extends { readonly number?: number; readonly last?: boolean; readonly run?: RunSettings }>({
  number,
  last,
  run,
  ...line
}: T): object {
  const { shard, inputs, ...whole } = run ?? {};
  return { ...line, run: whole };
}

/** A record's line in a file of results, and with `--json` on standard output. */
export function resultLine(entry: Entry, run: RunSettings, inversion: Inversion, stopped: boolean): object {
  const { file, name, states } = keyOf(entry);
  const isUnproven = run.prove === true && inversion.scope !== 'vocabulary';
  const isCut = stopped && (inversion.positions.length < inversion.length || isUnproven);
  return { file, name, ...placeOf(entry, run), ...jsonResult(inversion), ...(isCut && { stopped: true }), states, run };
}

/** The line of an entry that could not be inverted. */
export function errorLine(entry: Entry, run: RunSettings, error: PreimageError): object {
  const { file, name, states } = keyOf(entry);
  return { file, name, ...placeOf(entry, run), ...errorReport(error), states, run };
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
