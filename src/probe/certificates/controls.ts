import { attentionControl, boundControls, normControls } from './block-controls.ts';
import { checkCertificate } from './check.ts';
import { type Control, type ControlOptions, targetsOf } from './control-targets.ts';
import { coneControls, headControl } from './made-controls.ts';
import { headPart, type ModelParameters, mlpPart } from './model-parts.ts';
import { certificateJson } from './read.ts';

/** What came of a control. */
export interface ControlFigures extends Pick<Control, 'kind' | 'name'> {
  readonly unreachable: number;
  readonly certified: number;
  readonly reachable: number;
  /** Reachable targets with a certificate: must be 0. */
  readonly wrong: number;
  /** Certificates that `checkCertificate` accepts after a way through JSON: must be all. */
  readonly accepted: number;
}

/**
 * The controls of a model, one after another: outputs of LayerNorms, of attention behind 1, 5 and 50 tokens and of MLPs
 * without residual at its first, middle and last block; its weights as ReLU and LeakyReLU MLPs that are not onto; its
 * unembedding with rows added that cannot win.
 */
export async function* modelControls(
  model: ModelParameters,
  { count = 100, seed = 1 }: ControlOptions = {},
): AsyncGenerator<Control> {
  const targets = await targetsOf(model, count, seed);
  yield* await normControls(targets);
  yield await attentionControl(targets);
  yield* await boundControls(targets);
  yield* coneControls(targets, await mlpPart(model, `h.${targets.blocks.at(-1)}.mlp`));
  yield headControl(targets, await headPart(model));
}

/** Runs a control. @param model What its certificates are checked with. */
export async function runControl(control: Control, model: ModelParameters): Promise<ControlFigures> {
  const { kind, name, unreachable, reachable } = control;
  let accepted = 0;
  let certified = 0;
  for (const trial of unreachable) {
    const certificate = trial();
    if (!certificate) continue;
    certified++;
    const { holds } = await checkCertificate(JSON.parse(certificateJson(certificate)), model);
    if (holds) accepted++;
  }
  const wrong = reachable.filter((trial) => trial() !== undefined).length;
  return { kind, name, unreachable: unreachable.length, certified, reachable: reachable.length, wrong, accepted };
}
