// Row distances: distance[r] = |x_r - target|, the Euclidean norm of the exact difference. The expanded square
// |x|^2 - 2 x.t + |t|^2 loses half of the digits where it matters most: near zero.
//
// Method: LANES threads share a row (1 on CPU adapters), ROWS rows a workgroup.
//
// Layout: x [rows, width]; target [1, width] for all rows, or [rows, width]; distance [rows].
// Bindings: 0 uniform, 1 x, 2 target, 3 distance.

struct Params {
  rows: u32,
  width: u32,
  // width, or 0 when all rows share one target
  target_stride: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> targets: array<f32>;
@group(0) @binding(3) var<storage, read_write> distance_of_row: array<f32>;

override LANES: u32 = 64;
override ROWS: u32 = 1;
var<workgroup> partials: array<f32, LANES * ROWS>;

@compute @workgroup_size(LANES, ROWS)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_id) local: vec3u,
) {
  let row = (group.x + group.y * groups.x) * ROWS + local.y;
  let clamped = min(row, params.rows - 1u);
  var squares = 0.0;
  for (var i = local.x; i < params.width; i += LANES) {
    let difference = x[clamped * params.width + i] - targets[clamped * params.target_stride + i];
    squares += difference * difference;
  }
  if (LANES > 1u) {
    let slot = local.y * LANES;
    partials[slot + local.x] = squares;
    workgroupBarrier();
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
      if (local.x < half) {
        partials[slot + local.x] += partials[slot + local.x + half];
      }
      workgroupBarrier();
    }
    squares = partials[slot];
  }
  if (row < params.rows && local.x == 0u) {
    distance_of_row[row] = sqrt(squares);
  }
}
