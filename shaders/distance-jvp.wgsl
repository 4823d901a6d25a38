// Tangent of row distances |x_r - t_r|: dy = <dx - dt, x - t> / |x - t|, and 0 where a row meets its target.
//
// Method
//   1. LANES threads share a row (1 on CPU adapters), ROWS rows a workgroup.
//   2. Tangents may hold several sets, each at the same point: row r is row r % rows of set r / rows. Where all rows
//      share a target, row s of dtargets is set s.
//   3. HAS_DX and HAS_DTARGETS tell which tangents are not zero.
//
// Layout: x [rows, width]; targets [1, width] for all rows, or [rows, width]; distance_of_row [rows];
// dx [sets rows, width]; dtargets [sets, width] or [sets rows, width]; dy [sets rows].
// Bindings: 0 uniform, 1 x, 2 targets, 3 distance_of_row, 4 dx, 5 dtargets, 6 dy.

struct Params {
  rows: u32,
  width: u32,
  // width, or 0 when all rows share one target
  target_stride: u32,
  dy_rows: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> targets: array<f32>;
@group(0) @binding(3) var<storage, read> distance_of_row: array<f32>;
@group(0) @binding(4) var<storage, read> dx: array<f32>;
@group(0) @binding(5) var<storage, read> dtargets: array<f32>;
@group(0) @binding(6) var<storage, read_write> dy: array<f32>;

override HAS_DX: bool = true;
override HAS_DTARGETS: bool = true;
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

@compute @workgroup_size(LANES, ROWS)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_id) local: vec3u,
) {
  let row = (group.x + group.y * groups.x) * ROWS + local.y;
  let clamped = min(row, params.dy_rows - 1u);
  let at = clamped % params.rows;
  let dtarget_row = select(clamped, clamped / params.rows, params.target_stride == 0u);
  var sum = 0.0;
  for (var i = local.x; i < params.width; i += LANES) {
    var change = 0.0;
    if (HAS_DX) {
      change = dx[clamped * params.width + i];
    }
    if (HAS_DTARGETS) {
      change -= dtargets[dtarget_row * params.width + i];
    }
    sum += change * (x[at * params.width + i] - targets[at * params.target_stride + i]);
  }
  sum = sum_over_row(sum, local.x, local.y);
  if (row < params.dy_rows && local.x == 0u) {
    let distance = distance_of_row[at];
    dy[row] = select(0.0, sum / distance, distance > 0.0);
  }
}
