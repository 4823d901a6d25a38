// Derivatives of softmax and log-softmax over rows, along d (a tangent or a cotangent), from the value y.
//
// Method
//   1. MODE 0, jvp and vjp of softmax, whose Jacobian is symmetric: p (d - sum(p d)), p = y.
//      MODE 1, vjp of log-softmax: d - p sum(d), p = exp(y).
//      MODE 2, jvp of log-softmax: d - sum(p d), p = exp(y).
//   2. LANES threads share a row (1 on CPU adapters), ROWS rows a workgroup: a pass for the sum, a pass for the result.
//   3. d may hold several sets of rows, each at the same y.
//
// Layout: y [rows, width]; d, result [d_rows, width], d_rows a multiple of rows.
// Bindings: 0 uniform, 1 y, 2 d, 3 result.

struct Params {
  rows: u32,
  width: u32,
  d_rows: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> y: array<f32>;
@group(0) @binding(2) var<storage, read> d: array<f32>;
@group(0) @binding(3) var<storage, read_write> result: array<f32>;

override MODE: u32 = 0;
override LANES: u32 = 64;
override ROWS: u32 = 1;
var<workgroup> partials: array<f32, LANES * ROWS>;

fn sum_over_row(value: f32, lane: u32, slot: u32) -> f32 {
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
  return partials[slot * LANES];
}

fn probability(value: f32) -> f32 {
  if (MODE == 0u) {
    return value;
  }
  return exp(value);
}

@compute @workgroup_size(LANES, ROWS)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_id) local: vec3u,
) {
  let row = (group.x + group.y * groups.x) * ROWS + local.y;
  let clamped = min(row, params.d_rows - 1u);
  let first = clamped * params.width;
  let first_of_y = clamped % params.rows * params.width;
  var sum = 0.0;
  for (var i = local.x; i < params.width; i += LANES) {
    if (MODE == 1u) {
      sum += d[first + i];
    } else {
      sum += probability(y[first_of_y + i]) * d[first + i];
    }
  }
  sum = sum_over_row(sum, local.x, local.y);
  if (row < params.d_rows) {
    for (var i = local.x; i < params.width; i += LANES) {
      switch MODE {
        case 0u: { result[first + i] = probability(y[first_of_y + i]) * (d[first + i] - sum); }
        case 1u: { result[first + i] = d[first + i] - probability(y[first_of_y + i]) * sum; }
        default: { result[first + i] = d[first + i] - sum; }
      }
    }
  }
}
