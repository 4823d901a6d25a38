// LayerNorm: y = (x - mean) rstd gain + bias, rstd = 1 / sqrt(variance + epsilon), row by row.
//
// Method
//   1. LANES threads share a row (1 on CPU adapters, where barriers are dear), ROWS rows a workgroup.
//   2. Mean first, then the variance of the centred row: E[x^2] - E[x]^2 would cancel. What the centred row still sums
//      to is the rounding error of the mean, and is taken off (corrected two-pass algorithm).
//   3. The statistics are kept for the derivatives, the mean as a pair: one f32 would shift rows of a large offset.
//
// Layout: x, y [rows, width]; gain, bias [width]; statistics [rows, 3].
// Bindings: 0 uniform, 1 x, 2 gain, 3 bias, 4 y, 5 statistics.
// Source: Ba, Kiros and Hinton 2016; Chan, Golub and LeVeque 1983 (variance).

struct Params {
  rows: u32,
  width: u32,
  epsilon: f32,
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
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;
@group(0) @binding(5) var<storage, read_write> statistics: array<Statistics>;

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
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_id) local: vec3u,
) {
  // Threads past the last row compute a row twice and store nothing: barriers need them.
  let row = (group.x + group.y * groups.x) * ROWS + local.y;
  let first = min(row, params.rows - 1u) * params.width;
  let width = f32(params.width);
  var sum = 0.0;
  for (var i = local.x; i < params.width; i += LANES) {
    sum += x[first + i];
  }
  let mean = sum_over_row(vec2f(sum), local.x, local.y).x / width;
  // (sum, sum of squares) of the centred row
  var moments = vec2f();
  for (var i = local.x; i < params.width; i += LANES) {
    let centred = x[first + i] - mean;
    moments += vec2f(centred, centred * centred);
  }
  moments = sum_over_row(moments, local.x, local.y) / width;
  let variance = moments.y - moments.x * moments.x;
  let rstd = 1.0 / sqrt(variance + params.epsilon);
  if (row < params.rows) {
    if (local.x == 0u) {
      statistics[row] = Statistics(mean, moments.x, rstd);
    }
    for (var i = local.x; i < params.width; i += LANES) {
      y[first + i] = (x[first + i] - mean - moments.x) * rstd * gain[i] + bias[i];
    }
  }
}
