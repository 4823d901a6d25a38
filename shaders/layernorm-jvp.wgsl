// Tangent of LayerNorm, y = n gain + bias with the normed row n = (x - mean) rstd:
// dy = gain rstd (dx - mean(dx) - n mean(dx n)) + dgain n + dbias.
//
// Method
//   1. LANES threads share a row (1 on CPU adapters, where barriers are dear), ROWS rows a workgroup; both means in one
//      pass.
//   2. Tangents may hold several sets, each at the same point: row r of dx and dy is row r % rows of set r / rows;
//      row s of dgain and dbias is set s.
//   3. HAS_DX, HAS_DGAIN, HAS_DBIAS tell which tangents are not zero.
//
// Layout: x [rows, width]; gain [width]; statistics [rows, 3]; dx, dy [sets rows, width]; dgain, dbias [sets, width].
// Bindings: 0 uniform, 1 x, 2 gain, 3 statistics, 4 dx, 5 dgain, 6 dbias, 7 dy.

struct Params {
  rows: u32,
  width: u32,
  dy_rows: u32,
}

// The mean of the row is mean + remainder.
struct Statistics {
  mean: f32,
  remainder: f32,
  rstd: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> gain: array<f32>;
@group(0) @binding(3) var<storage, read> statistics: array<Statistics>;
@group(0) @binding(4) var<storage, read> dx: array<f32>;
@group(0) @binding(5) var<storage, read> dgain: array<f32>;
@group(0) @binding(6) var<storage, read> dbias: array<f32>;
@group(0) @binding(7) var<storage, read_write> dy: array<f32>;

override HAS_DX: bool = true;
override HAS_DGAIN: bool = true;
override HAS_DBIAS: bool = true;
override LANES: u32 = 64;
override ROWS: u32 = 1;
var<workgroup> partials: array<vec2f, LANES * ROWS>;

fn sum_over_row(value: vec2f, lane: u32, slot: u32) -> vec2f {
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
  let total = partials[slot * LANES];
  workgroupBarrier();
  return total;
}

@compute @workgroup_size(LANES, ROWS)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_id) local: vec3u,
) {
  // Threads past the last row compute a row twice and store nothing: barriers need them.
  let row = (group.x + group.y * groups.x) * ROWS + local.y;
  let clamped = min(row, params.dy_rows - 1u);
  let first = clamped * params.width;
  let first_of_x = clamped % params.rows * params.width;
  let first_of_set = clamped / params.rows * params.width;
  let of_row = statistics[clamped % params.rows];
  var means = vec2f();
  if (HAS_DX) {
    var sums = vec2f();
    for (var i = local.x; i < params.width; i += LANES) {
      let n = (x[first_of_x + i] - of_row.mean - of_row.remainder) * of_row.rstd;
      sums += vec2f(dx[first + i], dx[first + i] * n);
    }
    means = sum_over_row(sums, local.x, local.y) / f32(params.width);
  }
  if (row < params.dy_rows) {
    for (var i = local.x; i < params.width; i += LANES) {
      let n = (x[first_of_x + i] - of_row.mean - of_row.remainder) * of_row.rstd;
      var tangent = 0.0;
      if (HAS_DX) {
        tangent = gain[i] * of_row.rstd * (dx[first + i] - means.x - n * means.y);
      }
      if (HAS_DGAIN) {
        tangent += dgain[first_of_set + i] * n;
      }
      if (HAS_DBIAS) {
        tangent += dbias[first_of_set + i];
      }
      dy[first + i] = tangent;
    }
  }
}
