import { type Command, InvalidArgumentError, Option } from 'commander';
import { InputError } from '../errors.ts';
import type { LensOptions } from '../lens/store.ts';
import type { LoadedModel } from '../model/load.ts';
import { inverterOf } from '../sipit/invert.ts';
import { MOST_RIVALS } from '../sipit/speculate.ts';
import type { Noise } from '../sipit/types.ts';
import { warn } from './terminal.ts';
import { count as plain } from './text.ts';

const count = (value: number): string => plain(Math.round(value));

/** Rivals a position from which a user should know beforehand: the cost is about as many forward passes. */
const WORTH_SAYING = 10;

/** What a user knows of the noise in the states. */
export interface NoiseOptions {
  /** Standard deviation, as a share of the RMS. */
  readonly noise?: number;
  readonly dtypeNoise?: 'bf16' | 'f16';
}

/** Adds the options about noise. */
export function noiseOptions(command: Command): Command {
  return command
    .option('--noise <share>', "standard deviation of noise in the states, as a share of a state's RMS: 0.01", share)
    .addOption(new Option('--dtype-noise <type>', 'the model was run in this precision').choices(['bf16', 'f16']));
}

function share(text: string): number {
  const value = Number(text);
  if (text.trim() !== '' && Number.isFinite(value) && value >= 0) return value;
  throw new InvalidArgumentError('It must be a share of the RMS, 0 or more, such as 0.01.');
}

/** @throws InputError when the noise is told of twice. */
export function noiseOf({ noise, dtypeNoise }: NoiseOptions): Noise | undefined {
  if (noise !== undefined && dtypeNoise !== undefined) {
    throw new InputError('There are --noise and --dtype-noise.', 'Give only the larger of them.');
  }
  if (dtypeNoise !== undefined) return { run: dtypeNoise === 'bf16' ? 'BF16' : 'F16' };
  return noise === undefined ? undefined : { gaussian: noise };
}

/** Noise as a user reads it: `1 %` of the RMS. */
export const noiseLevel = (level: number): string => `${Number((100 * level).toPrecision(2))} %`;

/** Says, before states of a layer are inverted, what noise that leaves little margin will cost, or that it leaves none. */
export async function warnOfNoise(
  model: LoadedModel,
  layer: number,
  noise: Noise | undefined,
  lens: LensOptions,
): Promise<void> {
  if (!noise || !('gaussian' in noise)) return;
  const expectedRivals = (await inverterOf(model, layer, { noise, lens })).expectedRivals();
  const level = noiseLevel(noise.gaussian);
  if (expectedRivals > MOST_RIVALS) {
    warn(
      `noise of ${level} leaves no margin at layer ${layer}: about ${count(expectedRivals)} tokens fit each state. ` +
        'Most positions will come out ambiguous, with the likeliest token tried, at about 20 forward passes a prompt.',
    );
  } else if (expectedRivals > WORTH_SAYING) {
    warn(
      `noise of ${level} hides about ${count(expectedRivals)} tokens behind each true one at layer ${layer}: ` +
        `expect about ${count(expectedRivals)} forward passes a prompt.`,
    );
  }
}
