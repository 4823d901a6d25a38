// Part of a matrix: y = columns of a; y = b with a in place of a part of it.
//
// Method: one thread per element of y.
//
// Layout: take: a [rows, width] -> y [rows, count], the columns from `first` on. put: a [rows, count], b and y
// [., width]: a stands in the rows from `first_row` and the columns from `first` on. An absent a or b is 0.
// Bindings: 0 uniform, 1 a, 2 b, 3 y.

struct Params {
  size: u32,
  width: u32,
  first: u32,
  count: u32,
  first_row: u32,
  rows: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

override WORKGROUP: u32 = 64;
override HAS_A: bool = true;
override HAS_B: bool = false;

@compute @workgroup_size(WORKGROUP)
fn take(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = id.x + id.y * groups.x * WORKGROUP;
  if (i < params.size) {
    y[i] = a[i / params.count * params.width + params.first + i % params.count];
  }
}

@compute @workgroup_size(WORKGROUP)
fn put(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = id.x + id.y * groups.x * WORKGROUP;
  if (i >= params.size) {
    return;
  }
  // Unsigned: what lies before the part wraps to beyond it.
  let row = i / params.width - params.first_row;
  let column = i % params.width - params.first;
  var v = 0.0;
  if (row < params.rows && column < params.count) {
    if (HAS_A) {
      v = a[row * params.count + column];
    }
  } else if (HAS_B) {
    v = b[i];
  }
  y[i] = v;
}
