// Inner products with rows picked from a table: y[r, j] = <x_r, table[ids[r, j]]> + bias[ids[r, j]].
//
// Method: one thread for each product. A table in chunks takes a dispatch for each; ids outside are left alone.
//
// Layout: x [rows, width]; table [count, width], rows first .. first + count of the whole; ids, y [rows, picks];
//         bias [rows of the whole table].
// Bindings: 0 uniform, 1 x, 2 table, 3 ids, 4 bias, 5 y.

struct Params {
  size: u32,
  picks: u32,
  width: u32,
  first: u32,
  count: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> table: array<f32>;
@group(0) @binding(3) var<storage, read> ids: array<u32>;
@group(0) @binding(4) var<storage, read> bias: array<f32>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;

override HAS_BIAS: bool = false;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = id.x + id.y * groups.x * 64u;
  if (i >= params.size) {
    return;
  }
  let token = ids[i];
  if (token < params.first || token - params.first >= params.count) {
    return;
  }
  let row = (i / params.picks) * params.width;
  let picked = (token - params.first) * params.width;
  var sum = 0.0;
  for (var k = 0u; k < params.width; k++) {
    sum += x[row + k] * table[picked + k];
  }
  if (HAS_BIAS) {
    sum += bias[token];
  }
  y[i] = sum;
}
