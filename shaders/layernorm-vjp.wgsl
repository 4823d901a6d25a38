// Gradients of LayerNorm, y = n gain + bias with the normed row n = (x - mean) rstd, from dy.
//
// Method
//   1. gradient_in_x: with g = dy gain, dx = rstd (g - mean(g) - n mean(g n)), row by row: both means in one pass,
//      LANES threads a row (1 on CPU adapters, where barriers are dear), ROWS rows a workgroup. dy may hold several
//      sets of rows, each at the same x.
//   2. gradient_in_gain: one thread per column and chunk of rows; chunk c of C sums dy n over rows c, c + C, c + 2 C,
//      ... The caller adds up the chunks. (The gradient in bias is the column sums of dy.)
//
// Layout: x [rows, width]; gain [width]; statistics [rows, 3]; dy [dy_rows, width], dy_rows a multiple of rows;
// gradient [dy_rows, width] in x, [chunks, width] in gain.
// Bindings: 0 uniform, 1 x, 2 gain, 3 statistics, 4 dy, 5 gradient.
// Source: llm.c, layernorm_backward.

struct Params {
  rows: u32,
  width: u32,
  dy_rows: u32,
  chunks: u32,
}

// The mean of the row is mean + remainder.
struct Statistics {
  mean: f32,
  remainder: f32,
  rstd: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> gain: array<f32>;
@group(0) @binding(3) var<storage, read> statistics: array<Statistics>;
@group(0) @binding(4) var<storage, read> dy: array<f32>;
@group(0) @binding(5) var<storage, read_write> gradient: array<f32>;

override LANES: u32 = 64;
override ROWS: u32 = 1;
var<workgroup> partials: array<vec2f, LANES * ROWS>;

fn sum_over_row(value: vec2f, lane: u32, slot: u32) -> vec2f {
  if (LANES == 1u) {
    return value;
  }
  partials[slot * LANES + lane] = value;
  workgroupBarrier();
  for (var half = LANES / 2u; half > 0u; half /= 2u) {
    if (lane < half) {
      partials[slot * LANES + lane] += partials[slot * LANES + lane + half];
    }
    workgroupBarrier();
  }
  let total = partials[slot * LANES];
  workgroupBarrier();
  return total;
}

@compute @workgroup_size(LANES, ROWS)
fn gradient_in_x(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_id) local: vec3u,
) {
  // Threads past the last row compute a row twice and store nothing: barriers need them.
  let row = (group.x + group.y * groups.x) * ROWS + local.y;
  let clamped = min(row, params.dy_rows - 1u);
  let first = clamped * params.width;
  let first_of_x = clamped % params.rows * params.width;
  let of_row = statistics[clamped % params.rows];
  var sums = vec2f();
  for (var i = local.x; i < params.width; i += LANES) {
    let n = (x[first_of_x + i] - of_row.mean - of_row.remainder) * of_row.rstd;
    let g = dy[first + i] * gain[i];
    sums += vec2f(g, g * n);
  }
  let means = sum_over_row(sums, local.x, local.y) / f32(params.width);
  if (row < params.dy_rows) {
    for (var i = local.x; i < params.width; i += LANES) {
      let n = (x[first_of_x + i] - of_row.mean - of_row.remainder) * of_row.rstd;
      gradient[first + i] = of_row.rstd * (dy[first + i] * gain[i] - means.x - n * means.y);
    }
  }
}

override WORKGROUP: u32 = 64;

@compute @workgroup_size(WORKGROUP)
fn gradient_in_gain(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = id.x + id.y * groups.x * WORKGROUP;
  if (i >= params.chunks * params.width) {
    return;
  }
  var sum = 0.0;
  for (var row = i / params.width; row < params.rows; row += params.chunks) {
    let at = row * params.width + i % params.width;
    let of_row = statistics[row];
    sum += dy[at] * (x[at] - of_row.mean - of_row.remainder) * of_row.rstd;
  }
  gradient[i] = sum;
}
