// Tangent of the cross-entropy, row by row: (sum(p dz) - dz_label) weight with p = exp(z - max) / sum, 0 where the
// label is IGNORED. The caller adds up the rows.
//
// Method: LANES threads share a row (1 on CPU adapters), ROWS rows a workgroup; max and sum of the rows are kept from
// the forward pass.
//
// Layout: logits, dlogits [rows, width]; labels [rows]; statistics [rows, 2]; dlosses [rows].
// Bindings: 0 uniform, 1 logits, 2 labels, 3 statistics, 4 dlogits, 5 dlosses.

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
@group(0) @binding(4) var<storage, read> dlogits: array<f32>;
@group(0) @binding(5) var<storage, read_write> dlosses: array<f32>;

const IGNORED = 0xffffffffu;
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
  let clamped = min(row, params.rows - 1u);
  let first = clamped * params.width;
  let of_row = statistics[clamped]; // (maximum, sum)
  var sum = 0.0;
  for (var i = local.x; i < params.width; i += LANES) {
    sum += exp(logits[first + i] - of_row.x) * dlogits[first + i];
  }
  sum = sum_over_row(sum, local.x, local.y);
  if (row < params.rows && local.x == 0u) {
    var tangent = 0.0;
    if (labels[row] != IGNORED) {
      tangent = sum / of_row.y - dlogits[first + labels[row]];
    }
    dlosses[row] = tangent * params.weight;
  }
}
