/** The pictures of a page about a probe. */

import { Matrix } from 'ml-matrix';
import { addRows, dot, type Rows, rowsOf } from '../linalg/dense.ts';
import { principalAxes } from '../linalg/positive.ts';
import { barPlot } from '../report/bar-plot.ts';
import { linePlot, type Series } from '../report/line-plot.ts';
import { type Content, type Markup, markup } from '../report/markup.ts';
import { figure } from '../report/table.ts';
import { count, counted, significant } from '../report/text.ts';
import { nameOf, type TokenText } from '../sipit/report-tokens.ts';
import type { Finding, Solve, StepFinding } from './findings.ts';
import { STAGES, type Tally } from './report-words.ts';

/** Residuals of the steps, by how deep they lie. */
export function stepPlot({ findings }: Tally): Markup {
  const order = [...new Set(findings.flatMap(({ steps }) => steps.map(({ name }) => name)).toReversed())];
  const of = (wanted: boolean) =>
    findings.flatMap(({ steps }, vector) =>
      steps
        .filter(({ stage }) => (stage === 'broyden') === wanted)
        .map(({ name, residual, stage }) => ({
          x: order.indexOf(name),
          y: residual,
          label: `vector ${vector}, ${name}: ${significant(residual)}${stage ? '' : ', not solved'}`,
          open: !stage,
        })),
    );
  const others = of(false);
  const picture = linePlot({
    title: `Residuals of ${counted(order.length, 'step')} of ${counted(findings.length, 'vector')}`,
    x: { label: order.length > 1 ? `step, from ${order[0]} to ${order.at(-1)}` : `step: ${order[0] ?? 'none'}` },
    y: { label: 'residual |g(x) - y| / |y|', log: true },
    series: [
      { name: "by Broyden's method", points: of(true), style: 'points' },
      ...(others.length > 0 ? [{ name: 'along the path', points: others, style: 'points' as const }] : []),
    ],
  });
  return figure(picture, 'Each step for itself, in f32: all that f32 can tell is about 1e-7.');
}

/** Residuals of all steps together, vector by vector. */
export function residualPlot({ findings }: Tally): Markup {
  const points = (name: string, of: (finding: Finding) => number): Series => ({
    name,
    points: findings.map((finding, x) => ({ x, y: of(finding), label: `vector ${x}: ${significant(of(finding))}` })),
    style: 'points',
  });
  const picture = linePlot({
    title: `Residuals of ${counted(findings.length, 'vector')}`,
    x: { label: 'vector' },
    y: { label: 'residual |F(x) - y| / |y|', log: true },
    series: [
      points('f32 on the adapter', ({ residual }) => residual),
      points('float64', ({ exactResidual }) => exactResidual),
    ],
  });
  return figure(picture, 'All steps together, behind the last sweep of refinement.');
}

/** Rows that each vector took. */
export function rowPlot({ findings, rows }: Tally): Markup {
  const picture = barPlot({
    title: `Rows evaluated for each of ${counted(findings.length, 'vector')}`,
    x: { label: 'vector' },
    y: { label: 'rows' },
    bars: findings.map(({ rows, steps, jacobians }, vector) => ({
      from: vector,
      to: vector + 1,
      value: rows,
      label: `vector ${vector}: ${counted(rows, 'row')} for ${counted(steps.length, 'step')}, ${counted(jacobians, 'Jacobian')}`,
    })),
  });
  return figure(picture, `A row is one step evaluated, or differentiated along one vector. All: ${count(rows)}.`);
}

/** Paths with a colour and a name of their own. */
const MOST_PATHS = 5;

/** The paths of the steps that Broyden's method did not solve: s against arclength, the folds marked. */
export function pathPlot(solves: readonly Solve[]): Content {
  const followed = solves.flatMap(({ name, findings }) =>
    findings.flatMap(({ steps, position }) =>
      steps
        .filter(({ path }) => path.length > 1)
        .map((step) => ({ title: `${name}, position ${position}, ${step.name}`, step })),
    ),
  );
  if (followed.length === 0) {
    return markup`<p>Broyden's method found every preimage from x = y: no path had to be followed.</p>\n`;
  }
  const ranked = followed.toSorted((a, b) => b.step.folds - a.step.folds || b.step.path.length - a.step.path.length);
  const shown = ranked.slice(0, MOST_PATHS);
  const turns = shown.flatMap(({ title, step }) =>
    foldsOf(step).map(({ s, arclength }) => ({ x: arclength, y: s, label: `fold of ${title} at s ${s.toFixed(3)}` })),
  );
  const picture = linePlot({
    title: `s along ${counted(shown.length, 'path')}`,
    x: { label: 'arclength' },
    y: { label: 's' },
    series: [
      ...shown.map(
        ({ title, step }): Series => ({
          name: `${title} (${step.stage ? STAGES[step.stage] : 'given up'})`,
          points: step.path.map(({ s, arclength }) => ({ x: arclength, y: s, label: `s ${s.toFixed(3)}` })),
        }),
      ),
      ...(turns.length > 0
        ? [{ name: 'folds', points: turns.map((turn) => ({ ...turn, open: true })), style: 'points' as const }]
        : []),
    ],
  });
  const some =
    followed.length > shown.length ? `The ${shown.length} with most folds of ${count(followed.length)} paths. ` : '';
  return figure(
    picture,
    `${some}From (y, 0) the solutions of x + s f(x) = y are followed to s = 1, where x is a preimage. A path may fold back in s on its way.`,
  );
}

/** Points where s turns. */
const foldsOf = ({ path }: StepFinding) =>
  path.filter(({ s }, i) => i > 0 && i + 1 < path.length && (s - path[i - 1].s) * (path[i + 1].s - s) < 0);

/** Vocabulary rows that are drawn, and that the axes are computed from. */
const MOST_ROWS = 600;

/**
 * Vectors and vocabulary rows along the two axes in which they vary most, both kinds together, seen from the middle of
 * the vocabulary.
 * @param vocabulary [V, d]
 */
export function scatterPlot({ findings }: Tally, vocabulary: Float32Array, textOf: TokenText): Markup {
  const d = findings[0].vector.length;
  const all = vocabulary.length / d;
  const stride = Math.max(1, Math.floor(all / MOST_ROWS));
  const tokens = Array.from({ length: Math.floor(all / stride) }, (_, i) => i * stride);
  const rows = tokens.map((token) => Float64Array.from(vocabulary.subarray(token * d, (token + 1) * d)));
  const mean = addRows(new Float64Array(d), new Float64Array(rows.length).fill(1 / rows.length), rows);
  const centred = (row: ArrayLike<number>) => mean.map((value, i) => row[i] - value);
  const words = rows.map(centred);
  const vectors = findings.map(({ vector }) => centred(vector));
  const sum = covariance(words).add(covariance(vectors));
  const axes: Rows = rowsOf(principalAxes(sum, Math.min(2, d)).transpose());
  const at = (row: Float64Array) => ({ x: dot(row, axes[0]), y: axes[1] ? dot(row, axes[1]) : 0 });
  const picture = linePlot({
    title: `${counted(findings.length, 'vector')} and ${counted(rows.length, 'vocabulary row')} along two axes`,
    x: { label: 'first axis' },
    y: { label: 'second axis' },
    series: [
      {
        name: stride > 1 ? `vocabulary rows, one in ${stride}` : 'vocabulary rows',
        points: words.map((row, i) => ({ ...at(row), label: nameOf(tokens[i], textOf) })),
        style: 'points',
        muted: true,
      },
      {
        name: 'free vectors',
        points: vectors.map((row, i) => ({ ...at(row), label: `vector ${i}` })),
        style: 'points',
      },
    ],
  });
  return figure(picture, 'Axes of the largest variance, of vectors and vocabulary together.');
}

/** Mean of row row^T. */
function covariance(rows: Rows): Matrix {
  const d = rows[0].length;
  const sums = Array.from({ length: d }, () => new Float64Array(d));
  for (const row of rows) {
    sums.forEach((sum, i) => {
      const factor = row[i] / rows.length;
      for (let j = 0; j < d; j++) sum[j] += factor * row[j];
    });
  }
  return new Matrix(sums);
}

/** How far each vector lies from the nearest vocabulary row, by position. */
export function distancePlot({ findings }: Tally, textOf: TokenText): Markup {
  // Vectors of one position each stand side by side.
  const isSpread = new Set(findings.map(({ position }) => position)).size > 1;
  const at = (finding: Finding) => (isSpread ? finding.position : findings.indexOf(finding));
  const picture = linePlot({
    title: 'Distance from the nearest vocabulary row by position',
    x: { label: isSpread ? 'position' : 'vector' },
    y: { label: 'in lengths of a vocabulary row', log: true },
    series: [
      {
        name: 'length of the vector',
        points: findings.map((finding) => ({ x: at(finding), y: finding.length })),
        style: 'points',
        muted: true,
      },
      {
        name: 'distance to the nearest row',
        points: findings.map((finding) => {
          const [row] = finding.nearest;
          const label = row && `${nameOf(row.token, textOf)} at ${significant(row.distance)}`;
          return { x: at(finding), y: row?.distance, label: row && `position ${finding.position}: ${label}` };
        }),
        style: 'points',
      },
    ],
  });
  return figure(picture, 'A length of 1 is the root mean square of the rows: text lies at distance 0.');
}
