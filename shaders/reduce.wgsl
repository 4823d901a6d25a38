// Column sums: y_j = sum_i x_ij, or of the squares; and the transpose of that: one row repeated.
//
// Method of column_sums
//   1. One thread per column and chunk of rows; chunk c of C sums rows c, c + C, c + 2 C, ..., so that neighbouring
//      threads read neighbouring addresses even when the matrix is one column.
//   2. The caller repeats this until one row is left: a sum of n numbers errs by the logarithm of n.
//
// Layout: column_sums: x [rows, width], y [chunks, width]. repeat_row: x [width], y [rows, width].
// Bindings: 0 uniform, 1 x, 2 y.

struct Params {
  rows: u32,
  width: u32,
  chunks: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

override WORKGROUP: u32 = 64;
override SQUARED: bool = false;

@compute @workgroup_size(WORKGROUP)
fn column_sums(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = id.x + id.y * groups.x * WORKGROUP;
  if (i >= params.chunks * params.width) {
    return;
  }
  let stride = params.chunks * params.width;
  var sum = 0.0;
  for (var j = i; j < params.rows * params.width; j += stride) {
    let v = x[j];
    sum += select(v, v * v, SQUARED);
  }
  y[i] = sum;
}

@compute @workgroup_size(WORKGROUP)
fn repeat_row(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = id.x + id.y * groups.x * WORKGROUP;
  if (i < params.rows * params.width) {
    y[i] = x[i % params.width];
  }
}
