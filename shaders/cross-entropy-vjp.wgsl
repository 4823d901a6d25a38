// Gradient of the cross-entropy in the logits: (p - [v is the label]) weight dy with p = exp(z - max) / sum, and 0 in
// rows whose label is IGNORED.
//
// Method: one thread per element; max and sum of the rows are kept from the forward pass.
//
// Layout: logits, dlogits [rows, width]; labels [rows]; statistics [rows, 2]; dy [1].
// Bindings: 0 uniform, 1 logits, 2 labels, 3 statistics, 4 dy, 5 dlogits.

struct Params {
  rows: u32,
  width: u32,
  // 1 / number of rows that count
  weight: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> logits: array<f32>;
@group(0) @binding(2) var<storage, read> labels: array<u32>;
@group(0) @binding(3) var<storage, read> statistics: array<vec2f>;
@group(0) @binding(4) var<storage, read> dy: array<f32>;
@group(0) @binding(5) var<storage, read_write> dlogits: array<f32>;

override WORKGROUP: u32 = 64;
const IGNORED = 0xffffffffu;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = id.x + id.y * groups.x * WORKGROUP;
  if (i >= params.rows * params.width) {
    return;
  }
  let row = i / params.width;
  let label = labels[row];
  var slope = 0.0;
  if (label != IGNORED) {
    slope = exp(logits[i] - statistics[row].x) / statistics[row].y;
    if (label == i % params.width) {
      slope -= 1.0;
    }
  }
  dlogits[i] = slope * params.weight * dy[0];
}
