// Appends the keys and values of new rows to a K/V cache.
//
// Method: one thread per element.
//
// Layout: qkv [rows, 3 width] (queries, keys, values side by side); at [rows]: where each row goes, as
// slot * capacity + position; keys, values [slots, capacity, width].
// Bindings: 0 uniform, 1 qkv, 2 at, 3 keys, 4 values.

struct Params {
  rows: u32,
  width: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> qkv: array<f32>;
@group(0) @binding(2) var<storage, read> at: array<u32>;
@group(0) @binding(3) var<storage, read_write> keys: array<f32>;
@group(0) @binding(4) var<storage, read_write> values: array<f32>;

override WORKGROUP: u32 = 64;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = id.x + id.y * groups.x * WORKGROUP;
  let row = i / params.width;
  if (row >= params.rows) {
    return;
  }
  let column = i % params.width;
  let own = 3u * row * params.width + column;
  let target_index = at[row] * params.width + column;
  keys[target_index] = qkv[own + params.width];
  values[target_index] = qkv[own + 2u * params.width];
}
