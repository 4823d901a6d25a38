/** What came of a probe, in words; the terminal and the page say the same. */

import { count, counted, significant, visible } from '../report/text.ts';
import type { Finding, Solve, StepFinding } from './findings.ts';
import type { Stage } from './solve.ts';

/** The stages by what they do. */
export const STAGES: Readonly<Record<Stage, string>> = {
  broyden: 'Broyden',
  gmres: 'path, GMRES',
  lu: 'path, LU',
};

/** Figures of all solves together. */
export interface Tally {
  readonly findings: readonly Finding[];
  readonly steps: readonly StepFinding[];
  readonly wanted: number;
  readonly reached: number;
  readonly rows: number;
  readonly jacobians: number;
}

/** Counts what all solves came to. */
export function tallyOf(solves: readonly Solve[]): Tally {
  const findings = solves.flatMap((solve) => solve.findings);
  const sum = (of: (finding: Finding) => number) => findings.reduce((total, one) => total + of(one), 0);
  return {
    findings,
    steps: findings.flatMap(({ steps }) => steps),
    wanted: solves.reduce((total, { wanted }) => total + wanted, 0),
    reached: findings.filter(({ reached }) => reached).length,
    rows: sum(({ rows }) => rows),
    jacobians: sum(({ jacobians }) => jacobians),
  };
}

/** A name on one line, its spaces as they are. */
export const oneLine = (text: string): string => text.split(' ').map(visible).join(' ');

/** How near the targets were come. */
export function residualText({ findings }: Tally): string {
  const worst = (of: (finding: Finding) => number) =>
    significant(findings.reduce((most, one) => Math.max(most, of(one)), 0));
  const reached = findings.filter((one) => one.reached);
  if (reached.length === 0) return '';
  const gpu = worst((one) => (one.reached ? one.residual : 0));
  const exact = worst((one) => (one.reached ? one.exactResidual : 0));
  return `Residual |F(x) - y| / |y| at most ${gpu} in f32 on the adapter, ${exact} in float64.`;
}

/** How the steps were solved. */
export function pathText({ steps, findings, rows, jacobians }: Tally): string {
  if (steps.length === 0) return '';
  const by = (stage: Stage) => steps.filter((step) => step.stage === stage).length;
  const sum = (of: (step: StepFinding) => number) => steps.reduce((total, step) => total + of(step), 0);
  const followed = by('gmres') + by('lu');
  const parts = [
    `${by('broyden') === steps.length ? 'all' : `${count(by('broyden'))} of`} ${count(steps.length)} by Broyden's method alone`,
    followed > 0 && `${count(followed)} along the path (${count(by('gmres'))} by GMRES, ${count(by('lu'))} by LU)`,
    sum(({ folds }) => folds) > 0 &&
      counted(
        sum(({ folds }) => folds),
        'fold',
      ),
    sum(({ jumps }) => jumps) > 0 &&
      `${counted(
        sum(({ jumps }) => jumps),
        'jump',
      )} caught by the orientation`,
    sum(({ restarts }) => restarts) > 0 &&
      counted(
        sum(({ restarts }) => restarts),
        'restart',
      ),
  ].filter((part) => part !== false);
  const mean = findings.length > 1 ? `, ${count(Math.round(rows / findings.length))} a vector` : '';
  return `Steps: ${parts.join(', ')}; ${counted(rows, 'row')}${mean}, ${jacobians === 0 ? 'no Jacobian' : counted(jacobians, 'Jacobian')}.`;
}

/** How |x - y| compares with M, and the signs of det Dg. */
export function theoryText({ steps }: Tally): string {
  const solved = steps.filter(({ stage }) => stage !== undefined);
  if (solved.length === 0) return '';
  const most = solved.reduce((share, { distance, bound }) => Math.max(share, distance / bound), 0);
  const ball = `Every step stays in the ball |x - y| <= M, the farthest at ${significant(most)} M.`;
  const signed = steps.filter(({ sign }) => sign !== undefined);
  if (signed.length === 0) return ball;
  const positive = signed.filter(({ sign }) => sign! > 0).length;
  const all = signed.length === 1 ? 'the step' : `all ${count(signed.length)} steps`;
  const where = positive === signed.length ? all : `${count(positive)} of the ${count(signed.length)} steps`;
  return `${ball} det Dg is positive at ${where} looked at.`;
}

/** Row lengths up to which a vector is the row itself, as f32 finds it again. */
const SAME_ROW = 1e-3;

/** How far off the vocabulary the vectors lie. */
export function offText({ findings }: Tally): string {
  const nearest = findings.flatMap((finding) => finding.nearest.slice(0, 1).map(({ distance }) => distance));
  if (nearest.length === 0) return '';
  const far = nearest.filter((distance) => distance > SAME_ROW);
  const near = nearest.length - far.length;
  const own =
    near > 0 ? `${counted(near, 'vector')} ${near === 1 ? 'is a vocabulary row' : 'are vocabulary rows'}. ` : '';
  if (far.length === 0) return own.trim();
  const [least, most] = [Math.min(...far), Math.max(...far)].map(significant);
  const range = least === most ? least : `${least} to ${most}`;
  const which = near > 0 ? 'The others lie' : far.length === 1 ? 'The vector lies' : 'The vectors lie';
  return `${own}${which} ${range} lengths of a vocabulary row from the nearest one: no text has ${far.length === 1 ? 'it' : 'them'}.`;
}
