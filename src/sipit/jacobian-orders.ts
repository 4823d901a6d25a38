import { distance } from '../ops/distance.ts';
import { add } from '../ops/elementwise.ts';
import { embedding } from '../ops/embedding.ts';
import { matmul } from '../ops/matmul.ts';
import { reshape, takeBytes, upload } from '../tensor/tensor.ts';
import { joined } from './neighbours.ts';
import { positionOf, stateAt } from './record.ts';
import type { Asked, Bench } from './replies.ts';
import type { Screen, Slope } from './requests.ts';

/** How the requests are answered that order the vocabulary by derivatives of the model, one run at a time. */

/**
 * cos(g, w_v - m) over the vocabulary: m the mean of the tokens' rows, g the mean of J^T (h - F) over them, J the Jacobian
 * of a token's state F in its row. By Stein's lemma mean Jacobians are the slopes of the best linear fit: what the map's
 * bends do to single tokens averages out, and one vjp a token takes the place of d.
 */
export async function slope(
  { model, map }: Bench,
  { slot, record, request, cost }: Asked<Slope>,
): Promise<Uint32Array> {
  const { context, tokenTable } = model;
  const d = map.width;
  const { at, tokens } = request;
  const n = tokens.length;
  const fill = (value: number) => new Uint32Array(n).fill(value);
  cost.rows(n, map.layer);
  cost.vjpRows(n, map.layer);
  cost.scan();
  const scored = context.scope(() => {
    const linearization = map.linearize(model.embed(tokens, fill(positionOf(record, at))), fill(slot), fill(at));
    const observed = upload(context, repeated(stateAt(record, at), n), [n, d]);
    const gradients = linearization.vjp(add(observed, linearization.value, -1)); // (n, d)
    const average = upload(context, new Float32Array(n).fill(1 / n), [1, n]);
    const gradient = matmul(average, gradients); // (1, d)
    const middle = matmul(average, embedding(context, tokenTable, tokens)); // (1, d)
    return [
      matmul(middle, gradient, { transposeB: true }), // (1, 1)
      ...tokenTable.chunks.flatMap((chunk) => [matmul(chunk, gradient, { transposeB: true }), distance(chunk, middle)]),
    ];
  });
  const [zero, ...parts] = (await takeBytes(scored)).map((bytes) => new Float32Array(bytes));
  const cosines: number[] = [];
  for (let c = 0; c < parts.length; c += 2) {
    parts[c].forEach((along, i) => {
      cosines.push((along - zero[0]) / (parts[c + 1][i] || 1));
    });
  }
  return Uint32Array.from(cosines, (_, token) => token).sort((a, b) => cosines[b] - cosines[a] || a - b);
}

/** |w_v J^T - (w J^T + residual)| over the vocabulary, J the Jacobian of the token's state in its row. */
export async function screen(
  { model, map }: Bench,
  { slot, record, request, cost }: Asked<Screen>,
): Promise<Uint32Array> {
  const { context, config, tokenTable } = model;
  const d = map.width;
  const at = Uint32Array.of(request.at);
  const linearization = context.scope(() =>
    map.linearize(
      model.embed(Uint32Array.of(request.token), Uint32Array.of(positionOf(record, request.at))),
      Uint32Array.of(slot),
      at,
    ),
  );
  cost.rows(1, map.layer);
  cost.vjpRows(d, map.layer);
  cost.flops(2 * config.vocabularySize * d * d, true);
  try {
    const distances = context.scope(() => {
      const jacobian = reshape(linearization.jacobians(), [d, d]); // (output, input)
      const residual = upload(context, request.residual, [1, d]);
      const own = embedding(context, tokenTable, Uint32Array.of(request.token));
      const target = matmul(own, jacobian, { transposeB: true, residual }); // (1, d)
      return tokenTable.chunks.map((chunk) => distance(matmul(chunk, jacobian, { transposeB: true }), target));
    });
    const all = joined(await takeBytes(distances));
    return Uint32Array.from(all, (_, token) => token).sort((a, b) => all[a] - all[b] || a - b);
  } finally {
    linearization.dispose();
  }
}

function repeated(row: Float32Array, count: number): Float32Array {
  const rows = new Float32Array(count * row.length);
  for (let r = 0; r < count; r++) rows.set(row, r * row.length);
  return rows;
}
