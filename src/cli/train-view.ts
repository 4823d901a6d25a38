import type { Evaluation, StepReport, TrainResult } from '../train/train.ts';
import { columns, paint, print, printJson, statusLine } from './terminal.ts';
import { cell, count, counted, cut, duration, printable } from './text.ts';

/** Shows training as it goes. */
export interface TrainView {
  /** A word on what is being waited for. */
  status(text: string): void;
  onStep(report: StepReport): void;
  onEvaluation(evaluation: Evaluation): void;
  clear(): void;
}

/** A line that changes with each step, and one for each evaluation; as JSON, a line for both. */
export function trainView({ json, quiet }: { json?: boolean; quiet?: boolean }): TrainView {
  const status = statusLine(!json && !quiet);
  let first: StepReport | undefined;
  return {
    status: (text) => status.show(cut(`  ${text}`, columns() - 1)),
    clear: status.clear,
    onStep(report) {
      if (json) printJson({ type: 'step', ...report });
      first ??= report;
      const { step, steps, loss, seconds, tokensPerSecond } = report;
      const perStep = (seconds - first.seconds) / Math.max(step - first.step, 1);
      const left = step > first.step ? `, ${duration((steps - step) * perStep)} left` : '';
      status.show(
        cut(
          `  step ${count(step)} of ${count(steps)}  loss ${loss.toFixed(3)}  ${count(Math.round(tokensPerSecond))} tokens/s${left}`,
          columns() - 1,
        ),
      );
    },
    onEvaluation({ step, loss }) {
      if (json) return printJson({ type: 'evaluation', step, loss });
      if (quiet) return;
      status.clear();
      print(`  ${paint('dim', cell(`step ${count(step)}`, 14))}held-out loss ${paint('bold', loss.toFixed(4))}`);
    },
  };
}

/** What came of training. */
export function showResult(result: TrainResult, folder: string, options: { json?: boolean; quiet?: boolean }): void {
  const { step, steps, evaluations, unigramLoss, seconds, tokens, tokensPerSecond } = result;
  const heldOutLoss = evaluations.at(-1)?.loss;
  if (options.json) {
    printJson({ type: 'done', out: folder, step, steps, heldOutLoss, unigramLoss, seconds, tokens, tokensPerSecond });
    return;
  }
  if (heldOutLoss === undefined) return;
  const perplexity = Math.exp(heldOutLoss);
  const verdict = `held-out loss ${heldOutLoss.toFixed(3)} nats a token, perplexity ${perplexity.toFixed(perplexity < 100 ? 1 : 0)}`;
  if (options.quiet) {
    print(verdict);
    return;
  }
  print();
  print(`  ${paint('bold', verdict)} (token frequencies alone: ${unigramLoss.toFixed(3)})`);
  print(
    `  ${counted(step, 'step')}, ${counted(tokens, 'token')} in ${duration(seconds)}: ${count(Math.round(tokensPerSecond))} tokens/s`,
  );
  print(`  ${printable(folder)}: the model, loss.svg and training.json`);
}
