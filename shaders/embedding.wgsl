// Embedding: y_r = table[ids_r] + positions[at_r], either of which may be left out.
//
// Method: one thread per element. A table too large for one binding comes in chunks of rows: each call writes the rows
// whose id lies in its chunk and leaves the others alone.
//
// Layout: ids, at [rows]; table [count, width] holding rows first .. first + count of the whole; positions [n, width];
// y [rows, width]. Bindings: 0 uniform, 1 ids, 2 table, 3 at, 4 positions, 5 y.

struct Params {
  rows: u32,
  width: u32,
  first: u32,
  count: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> ids: array<u32>;
@group(0) @binding(2) var<storage, read> table: array<f32>;
@group(0) @binding(3) var<storage, read> at: array<u32>;
@group(0) @binding(4) var<storage, read> positions: array<f32>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;

override WORKGROUP: u32 = 64;
override ADD_TABLE: bool = true;
override ADD_POSITION: bool = false;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = id.x + id.y * groups.x * WORKGROUP;
  let row = i / params.width;
  if (row >= params.rows) {
    return;
  }
  let column = i % params.width;
  let index = ids[row] - params.first;
  if (ids[row] < params.first || index >= params.count) {
    return;
  }
  var v = 0.0;
  if (ADD_TABLE) {
    v += table[index * params.width + column];
  }
  if (ADD_POSITION) {
    v += positions[at[row] * params.width + column];
  }
  y[i] = v;
}
