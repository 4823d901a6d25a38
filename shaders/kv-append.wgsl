// Appends the keys and values of new rows to a K/V cache. A row that several slots share goes to each of them.
//
// Method: one thread per element.
//
// Layout: qkv [rows, 3 width] (queries, keys, values side by side); at [entries, 2]: which row goes where, as (row,
// slot * capacity + position); keys, values [slots, capacity, width].
// Bindings: 0 uniform, 1 qkv, 2 at, 3 keys, 4 values.

struct Params {
  entries: u32,
  width: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> qkv: array<f32>;
@group(0) @binding(2) var<storage, read> at: array<vec2u>;
@group(0) @binding(3) var<storage, read_write> keys: array<f32>;
@group(0) @binding(4) var<storage, read_write> values: array<f32>;

override WORKGROUP: u32 = 64;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = id.x + id.y * groups.x * WORKGROUP;
  if (i >= params.entries * params.width) {
    return;
  }
  let entry = at[i / params.width];
  let column = i % params.width;
  let own = 3u * entry.x * params.width + column;
  let target_index = entry.y * params.width + column;
  keys[target_index] = qkv[own + params.width];
  values[target_index] = qkv[own + 2u * params.width];
}
