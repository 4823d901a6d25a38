/** The tables of a page about a probe. */

import { type Content, type Markup, markup } from '../report/markup.ts';
import { type Row, table } from '../report/table.ts';
import { count, number } from '../report/text.ts';
import { named, type TokenText } from '../sipit/report-tokens.ts';
import type { Finding, Solve } from './findings.ts';
import { oneLine, STAGES } from './report-words.ts';

const logits = (value: number): Markup => markup`<data value="${value}">${value.toFixed(2)}</data>`;

/** Tokens that were to be forced, and by how much they are ahead. */
export function tokenTable(findings: readonly Finding[], textOf: TokenText): Content {
  const rows = findings.flatMap(({ position, forced, decoded }): Row[] => {
    if (!forced) return [];
    const { token, margin, exactMargin } = forced;
    const next = decoded.find((one) => one.token !== token);
    return [
      {
        kind: Math.min(margin, exactMargin) > 0 ? undefined : 'bad',
        cells: [position, named(token, textOf), logits(margin), logits(exactMargin), next && named(next.token, textOf)],
      },
    ];
  });
  return table(
    'By how many logits each token is ahead of the next',
    [
      { title: 'position', isNumber: true },
      { title: 'token' },
      { title: 'f32', isNumber: true },
      { title: 'float64', isNumber: true },
      { title: 'next' },
    ],
    rows,
  );
}

/** Every free vector in a line. */
export function vectorTable(solves: readonly Solve[], textOf: TokenText): Content {
  const atInput = solves.some(({ findings }) => findings.some(({ nearest }) => nearest.length > 0));
  const rows = solves.flatMap(({ name, findings, wanted }) =>
    findings.map((finding, i): Row => {
      const { reached, residual, exactResidual, rows, jacobians, steps, nearest, decoded } = finding;
      const sum = (of: (step: Finding['steps'][number]) => number) =>
        steps.reduce((total, step) => total + of(step), 0);
      const share = steps.reduce((most, { distance, bound }) => Math.max(most, distance / bound), 0);
      const [best] = decoded;
      const [row] = nearest;
      return {
        kind: reached ? undefined : 'bad',
        cells: [
          wanted > 1 ? `${oneLine(name)}[${i}]` : oneLine(name),
          number(Number.isFinite(residual) ? residual : undefined),
          number(exactResidual),
          count(rows),
          count(jacobians),
          number(share),
          ...(atInput
            ? [row && markup`<span class="together">${named(row.token, textOf)} at ${number(row.distance)}</span>`]
            : []),
          best && markup`<span class="together">${named(best.token, textOf)} by ${logits(best.margin)}</span>`,
          [
            sum(({ folds }) => folds),
            sum(({ rejected }) => rejected),
            sum(({ jumps }) => jumps),
            sum(({ restarts }) => restarts),
          ]
            .map(count)
            .join(' / '),
        ],
      };
    }),
  );
  return table(
    `Residuals |F(x) - y| / |y|;${atInput ? ' the nearest vocabulary row, in row lengths;' : ''} what the model says there, by how many logits; turns of the path in s, steps taken back, jumps to another path that the orientation caught, paths begun anew`,
    [
      { title: 'target' },
      { title: 'f32', isNumber: true },
      { title: 'float64', isNumber: true },
      { title: 'rows', isNumber: true },
      { title: 'Jacobians', isNumber: true },
      { title: '|x - y| / M', isNumber: true },
      ...(atInput ? [{ title: 'nearest row' }] : []),
      { title: 'decodes as' },
      { title: 'folds / rejected / jumps / restarts', isNumber: true },
    ],
    rows,
  );
}

/** The steps of one vector, as they were solved. */
export function stepTable({ steps }: Finding): Content {
  const rows = steps.map(
    ({ name, stage, residual, distance, bound, sign, folds, rejected, jumps, restarts, path }): Row => ({
      kind: stage ? undefined : 'bad',
      cells: [
        name,
        stage ? STAGES[stage] : 'none',
        number(residual),
        number(distance),
        number(bound),
        number(distance / bound),
        sign === undefined ? undefined : sign > 0 ? '+' : '−',
        path.length === 0 ? undefined : count(path.length - 1),
        count(folds),
        count(rejected),
        count(jumps),
        count(restarts),
      ],
    }),
  );
  return table(
    'The steps, last block first; M bounds |x - y| for every preimage there is',
    [
      { title: 'step' },
      { title: 'solved by' },
      { title: 'residual', isNumber: true },
      { title: '|x - y|', isNumber: true },
      { title: 'M', isNumber: true },
      { title: 'share', isNumber: true },
      { title: 'det Dg', isNumber: true },
      { title: 'path points', isNumber: true },
      { title: 'folds', isNumber: true },
      { title: 'rejected', isNumber: true },
      { title: 'jumps', isNumber: true },
      { title: 'restarts', isNumber: true },
    ],
    rows,
  );
}

/** The vocabulary rows next to one vector, and the tokens that the model finds likeliest there. */
export function nearestTable({ nearest, length, decoded }: Finding, textOf: TokenText): Content {
  const near = nearest.map(({ token, distance }): Row => ({ cells: [named(token, textOf), number(distance)] }));
  const says = decoded.map(
    ({ token, logit, margin }): Row => ({ cells: [named(token, textOf), logits(logit), logits(margin)] }),
  );
  const long = length === undefined ? '' : markup`<p>The vector is ${number(length)} row lengths long.</p>\n`;
  const rows = [{ title: 'vocabulary row' }, { title: 'distance in row lengths', isNumber: true }];
  const tokens = [
    { title: 'the model says' },
    { title: 'logit', isNumber: true },
    { title: 'above the next', isNumber: true },
  ];
  return markup`${near.length > 0 ? table('The nearest vocabulary rows', rows, near) : ''}${long}${table('Decoded, in float64', tokens, says)}`;
}
