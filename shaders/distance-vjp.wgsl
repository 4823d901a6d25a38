// Gradient of row distances |x_r - t_r| in x: dx = dy (x - t) / |x - t|, and 0 where a row meets its target.
//
// Method: one thread per element. dy may hold several sets of rows, each at the same x.
//
// Layout: x [rows, width]; targets [1, width] for all rows, or [rows, width]; distance_of_row [rows]; dy [dy_rows];
// dx [dy_rows, width], dy_rows a multiple of rows.
// Bindings: 0 uniform, 1 x, 2 targets, 3 distance_of_row, 4 dy, 5 dx.

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
@group(0) @binding(4) var<storage, read> dy: array<f32>;
@group(0) @binding(5) var<storage, read_write> dx: array<f32>;

override WORKGROUP: u32 = 64;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = id.x + id.y * groups.x * WORKGROUP;
  if (i >= params.dy_rows * params.width) {
    return;
  }
  let row = i / params.width % params.rows;
  let column = i % params.width;
  let difference = x[row * params.width + column] - targets[row * params.target_stride + column];
  let distance = distance_of_row[row];
  dx[i] = select(0.0, difference / distance, distance > 0.0) * dy[i / params.width];
}
