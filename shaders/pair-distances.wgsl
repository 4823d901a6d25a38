// Squared distances of all pairs of rows of A and B, told by their product A B^T: for each row of A the least distance
// there can be and how many pairs lie below a bound, and for all pairs a histogram.
//
// Method
//   1. Screen: s = |a|^2 + |b|^2 - 2 a.b. Its rounding is at most error (|a|^2 + |b|^2), whatever order the product
//      sums in (src/ops/pair-distances.ts derives it): the true square is at least s less that.
//   2. A pair whose square is not clearly above its rounding (RECHECK times) is computed again as the sum of
//      (a_i - b_i)^2, which is exact to a relative `relative`.
//   3. Bins are the bits of a square above its upper 2 bits of mantissa: four to a factor of two.
//   direct   CPU adapters: a thread does a row of A, with a histogram of its own.
//   shared_rows  GPUs: the threads of a workgroup share each of ROWS rows of A, and one histogram in workgroup memory.
//
// Layout: dots [rows, columns]; a [rows, width]; b [columns, width]; squares_a [rows], squares_b [columns]; summary
// [rows, 3] as (least square there can be, pairs surely below, pairs possibly below); histogram [groups, BINS] of
// counts in f32 (exact up to 2^24), groups = rows (direct) or ceil(rows / ROWS) (shared_rows).
// Bindings: 0 uniform, 1 dots, 2 a, 3 b, 4 squares_a, 5 squares_b, 6 summary, 7 histogram.

struct Params {
  rows: u32,
  columns: u32,
  width: u32,
  // Only pairs with first_row + row < first_column + column: of two equal tiles, the upper triangle.
  first_row: u32,
  first_column: u32,
  error: f32,
  relative: f32,
  // Squared bound of what is counted.
  below: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> dots: array<f32>;
@group(0) @binding(2) var<storage, read> a: array<f32>;
@group(0) @binding(3) var<storage, read> b: array<f32>;
@group(0) @binding(4) var<storage, read> squares_a: array<f32>;
@group(0) @binding(5) var<storage, read> squares_b: array<f32>;
@group(0) @binding(6) var<storage, read_write> summary: array<f32>;
@group(0) @binding(7) var<storage, read_write> histogram: array<f32>;

const BINS: u32 = 256u;
// Bits of the first square that counts in bin 1, 2^-40; what is below counts in bin 0, what is above the last in it.
const FIRST_BITS: u32 = 348u;
const RECHECK = 8.0;
const HIGHEST = 3.402823e+38;

// The screened square, and how far off it may be.
fn screen(row: u32, column: u32) -> vec2f {
  let squares = squares_a[row] + squares_b[column];
  return vec2f(squares - 2.0 * dots[row * params.columns + column], params.error * squares);
}

fn is_near(screened: vec2f) -> bool {
  return screened.x < RECHECK * screened.y;
}

// The sum of squared differences, and how far off it may be.
fn recheck(row: u32, column: u32) -> vec2f {
  var sum = 0.0;
  for (var i = 0u; i < params.width; i++) {
    let difference = a[row * params.width + i] - b[column * params.width + i];
    sum += difference * difference;
  }
  return vec2f(sum, params.relative * sum);
}

fn bin_of(square: f32) -> u32 {
  let bits = bitcast<u32>(square) >> 21u;
  return min(max(bits, FIRST_BITS - 1u) - (FIRST_BITS - 1u), BINS - 1u);
}

@compute @workgroup_size(4)
fn direct(@builtin(global_invocation_id) id: vec3u) {
  let row = id.x;
  if (row >= params.rows) {
    return;
  }
  for (var i = 0u; i < BINS; i++) {
    histogram[row * BINS + i] = 0.0;
  }
  var least = HIGHEST;
  var surely = 0.0;
  var possibly = 0.0;
  var near = 0.0;
  let own = params.first_row + row + 1u;
  let first = max(own, params.first_column) - params.first_column;
  // Without branches: near pairs are left to a loop of their own, which few rows need.
  for (var column = first; column < params.columns; column++) {
    let square = screen(row, column);
    let far = select(1.0, 0.0, is_near(square));
    near += 1.0 - far;
    least = min(least, select(HIGHEST, square.x - square.y, far > 0.0));
    surely += select(0.0, far, square.x + square.y < params.below);
    possibly += select(0.0, far, square.x - square.y < params.below);
    histogram[row * BINS + bin_of(square.x)] += far;
  }
  if (near > 0.0) {
    for (var column = first; column < params.columns; column++) {
      if (!is_near(screen(row, column))) {
        continue;
      }
      let square = recheck(row, column);
      least = min(least, square.x - square.y);
      surely += select(0.0, 1.0, square.x + square.y < params.below);
      possibly += select(0.0, 1.0, square.x - square.y < params.below);
      histogram[row * BINS + bin_of(square.x)] += 1.0;
    }
  }
  summary[3u * row] = least;
  summary[3u * row + 1u] = surely;
  summary[3u * row + 2u] = possibly;
}

const ROWS: u32 = 8u;
const THREADS: u32 = 256u;
var<workgroup> counts: array<atomic<u32>, BINS>;
// Squares are not negative, so their bits are in their order.
var<workgroup> leasts: array<atomic<u32>, ROWS>;
var<workgroup> surelies: array<atomic<u32>, ROWS>;
var<workgroup> possiblies: array<atomic<u32>, ROWS>;

@compute @workgroup_size(THREADS)
fn shared_rows(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
  for (var i = thread; i < BINS; i += THREADS) {
    atomicStore(&counts[i], 0u);
  }
  if (thread < ROWS) {
    atomicStore(&leasts[thread], bitcast<u32>(HIGHEST));
    atomicStore(&surelies[thread], 0u);
    atomicStore(&possiblies[thread], 0u);
  }
  workgroupBarrier();
  for (var i = 0u; i < ROWS; i++) {
    let row = ROWS * group.x + i;
    if (row >= params.rows) {
      break;
    }
    let own = params.first_row + row + 1u;
    let first = max(own, params.first_column) - params.first_column;
    for (var column = first + thread; column < params.columns; column += THREADS) {
      var square = screen(row, column);
      if (is_near(square)) {
        square = recheck(row, column);
      }
      atomicMin(&leasts[i], bitcast<u32>(max(square.x - square.y, 0.0)));
      if (square.x - square.y < params.below) {
        atomicAdd(&possiblies[i], 1u);
      }
      if (square.x + square.y < params.below) {
        atomicAdd(&surelies[i], 1u);
      }
      atomicAdd(&counts[bin_of(square.x)], 1u);
    }
  }
  workgroupBarrier();
  for (var i = thread; i < BINS; i += THREADS) {
    histogram[group.x * BINS + i] = f32(atomicLoad(&counts[i]));
  }
  let row = ROWS * group.x + thread;
  if (thread < ROWS && row < params.rows) {
    summary[3u * row] = bitcast<f32>(atomicLoad(&leasts[thread]));
    summary[3u * row + 1u] = f32(atomicLoad(&surelies[thread]));
    summary[3u * row + 2u] = f32(atomicLoad(&possiblies[thread]));
  }
}
