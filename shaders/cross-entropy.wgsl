// Cross-entropy of logits, row by row: loss = (log(sum(exp(z - max))) + max - z_label) weight, 0 where the label is
// IGNORED. The caller adds up the rows.
//
// Method
//   1. LANES threads share a row (1 on CPU adapters), ROWS rows a workgroup.
//   2. One pass with a running maximum and a running sum, rescaled when the maximum grows. Each thread sums BLOCK terms
//      at a time: one sum over a vocabulary of 50000 would lose digits. Blocks, then lanes, are merged.
//   3. (maximum, sum) of the row is kept for the derivatives, as a pair: its logarithm added to a large maximum would
//      be rounded to the digits of that.
//
// Layout: logits [rows, width]; labels [rows]; losses [rows]; statistics [rows, 2].
// Bindings: 0 uniform, 1 logits, 2 labels, 3 losses, 4 statistics.
// Source: Milakov and Gimelshein 2018 (online softmax).

struct Params {
  rows: u32,
  width: u32,
  // 1 / number of rows that count
  weight: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> logits: array<f32>;
@group(0) @binding(2) var<storage, read> labels: array<u32>;
@group(0) @binding(3) var<storage, read_write> losses: array<f32>;
@group(0) @binding(4) var<storage, read_write> statistics: array<vec2f>;

override LANES: u32 = 64;
override ROWS: u32 = 1;
var<workgroup> partials: array<vec2f, LANES * ROWS>;

const BLOCK: u32 = 64u;
const LOWEST = -3.402823e+38;
const IGNORED = 0xffffffffu;

// (maximum, sum of exp(z - maximum)) of two parts taken together.
fn merge(p: vec2f, q: vec2f) -> vec2f {
  let maximum = max(p.x, q.x);
  return vec2f(maximum, p.y * exp(p.x - maximum) + q.y * exp(q.x - maximum));
}

@compute @workgroup_size(LANES, ROWS)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_id) local: vec3u,
) {
  let row = (group.x + group.y * groups.x) * ROWS + local.y;
  let first = min(row, params.rows - 1u) * params.width;
  var total = vec2f(LOWEST, 0.0);
  for (var start = local.x; start < params.width; start += LANES * BLOCK) {
    var part = vec2f(LOWEST, 0.0);
    let end = min(start + LANES * BLOCK, params.width);
    for (var i = start; i < end; i += LANES) {
      let z = logits[first + i];
      if (z > part.x) {
        part = vec2f(z, part.y * exp(part.x - z) + 1.0);
      } else {
        part.y += exp(z - part.x);
      }
    }
    total = merge(total, part);
  }
  if (LANES > 1u) {
    let slot = local.y * LANES;
    partials[slot + local.x] = total;
    workgroupBarrier();
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
      if (local.x < half) {
        partials[slot + local.x] = merge(partials[slot + local.x], partials[slot + local.x + half]);
      }
      workgroupBarrier();
    }
    total = partials[slot];
  }
  if (row < params.rows && local.x == 0u) {
    statistics[row] = total;
    var loss = 0.0;
    if (labels[row] != IGNORED) {
      loss = (total.x - logits[first + labels[row]]) + log(total.y);
    }
    losses[row] = loss * params.weight;
  }
}
