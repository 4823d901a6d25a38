// Gradient of an embedding in its table: dtable_v = sum of dy_r over the rows r that read row v; zero where none did.
//
// Method
//   1. The CPU, which chose the rows, sorts them by the row of the table they read (src/ops/embedding.ts).
//   2. One thread per element of the table's gradient gathers the rows of its run, in their order: no atomics, and the
//      same sum every time.
//
// Layout: dy [rows, width]; order [rows], the rows sorted by what they read; starts [table rows + 1], where the run of
// each row of the whole table begins in it; dtable [count, width], the gradient of rows first .. first + count.
// Bindings: 0 uniform, 1 dy, 2 order, 3 starts, 4 dtable.

struct Params {
  count: u32,
  width: u32,
  first: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> dy: array<f32>;
@group(0) @binding(2) var<storage, read> order: array<u32>;
@group(0) @binding(3) var<storage, read> starts: array<u32>;
@group(0) @binding(4) var<storage, read_write> dtable: array<f32>;

override WORKGROUP: u32 = 64;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = id.x + id.y * groups.x * WORKGROUP;
  let row = i / params.width;
  if (row >= params.count) {
    return;
  }
  let column = i % params.width;
  let end = starts[params.first + row + 1u];
  var sum = 0.0;
  for (var at = starts[params.first + row]; at < end; at++) {
    sum += dy[order[at] * params.width + column];
  }
  dtable[i] = sum;
}
