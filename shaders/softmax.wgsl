// Softmax and log-softmax over rows: y = exp(x - max) / sum, or x - max - log(sum).
//
// Method
//   1. LANES threads share a row (1 on CPU adapters), ROWS rows a workgroup.
//   2. One pass with a running maximum and a running sum, rescaled when the maximum grows; lanes are then merged.
//   3. A second pass writes the result.
//
// Layout: x, y [rows, width]. Bindings: 0 uniform, 1 x, 2 y.
// Source: Milakov and Gimelshein 2018 (online softmax).

struct Params {
  rows: u32,
  width: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

override LANES: u32 = 64;
override ROWS: u32 = 1;
override LOGARITHM: bool = false;
var<workgroup> partials: array<vec2f, LANES * ROWS>;

const LOWEST = -3.402823e+38;

// (maximum, sum of exp(x - maximum)) of two parts taken together.
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
  for (var i = local.x; i < params.width; i += LANES) {
    let v = x[first + i];
    if (v > total.x) {
      total = vec2f(v, total.y * exp(total.x - v) + 1.0);
    } else {
      total.y += exp(v - total.x);
    }
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
  if (row < params.rows) {
    let log_sum = log(total.y);
    for (var i = local.x; i < params.width; i += LANES) {
      let shifted = x[first + i] - total.x;
      if (LOGARITHM) {
        y[first + i] = shifted - log_sum;
      } else {
        y[first + i] = exp(shifted) / total.y;
      }
    }
  }
}
