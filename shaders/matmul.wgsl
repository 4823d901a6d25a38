// Matrix product: C = act(op(A) op(B) + bias) + residual, for each matrix of a batch.
//
// Ways to compute it, chosen by src/ops/matmul.ts:
//   tiled      GPUs. A workgroup of 8 x 8 threads computes a 64 x 64 tile; 16 columns of A and rows of B at a time are
//              staged in workgroup memory, by each thread a block of 4 x 4 in vec4 loads; each thread keeps 8 x 8 sums
//              as four mat4x4f. tiled_any loads scalars, for rows (as stored) that 4 does not divide.
//   skinny     GPUs, at most 16 rows. Threads split the columns and K, so that B is read once; partial sums meet in
//              workgroup memory.
//   direct     CPU adapters, where a barrier costs more than a load: no workgroup memory, 8 or 20 rows x 16 columns a
//              thread in named accumulators, four k at a time.
//   row        CPU adapters, one row: 8 columns a thread; row_nt, with 4, for transposed B. They sum in the order of
//              direct: a row comes out the same, bit for bit, whatever rows it is computed with.
//
// Layout: A [batch, M, K] (or [batch, K, M] transposed), B [batch, K, N] (or [batch, N, K]), C and residual
// [batch, M, N], bias [N]; workgroups x over M, y over N, z over the batch.
// Bindings: 0 uniform, 1 A, 2 B, 3 bias, 4 residual, 5 C.

struct Params {
  m: u32,
  n: u32,
  k: u32,
  // Element (i, k) of op(A) stands at i a_row + k a_column; (k, j) of op(B) at k b_row + j b_column.
  a_row: u32,
  a_column: u32,
  b_row: u32,
  b_column: u32,
  // Elements from one matrix of the batch to the next; 0 shares one matrix.
  a_batch: u32,
  b_batch: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(1) var<storage, read> a4: array<vec4f>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(2) var<storage, read> b4: array<vec4f>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read> residual: array<f32>;
@group(0) @binding(5) var<storage, read_write> c: array<f32>;

override HAS_BIAS: bool = false;
override HAS_RESIDUAL: bool = false;
// Index into the list of src/ops/activation.ts.
override ACTIVATION: u32 = 0;

fn store(batch: u32, row: u32, column: u32, sum: f32) {
  if (row >= params.m || column >= params.n) {
    return;
  }
  var v = sum;
  if (HAS_BIAS) {
    v += bias[column];
  }
  v = activate(v);
  let i = (batch * params.m + row) * params.n + column;
  if (HAS_RESIDUAL) {
    v += residual[i];
  }
  c[i] = v;
}

// Compilers inline what they are given: loops over the sums, here and below, keep one copy of the epilogue, not eighty.
fn store4(batch: u32, row: u32, column: u32, sums: vec4f) {
  for (var i = 0u; i < 4u; i++) {
    store(batch, row, column + i, sums[i]);
  }
}

// Four indices, clamped to the last: what is computed twice is not stored.
fn four(first: u32, count: u32) -> vec4u {
  return min(vec4u(first, first + 1u, first + 2u, first + 3u), vec4u(count - 1u));
}

// ---------------------------------------------------------------- GPUs

const TILE_K = 16u;
// Rows of a tile in vec4f: 16, and one more so that writes of transposed blocks spread over the banks.
const PITCH = 17u;
// [k][row / 4] of A, then [k][column / 4] of B: the inner loop reads contiguous vec4f.
const TILE_A = 0u;
const TILE_B = TILE_K * PITCH;
var<workgroup> tiles: array<vec4f, 2 * TILE_K * PITCH>;

// Which block of a tile a thread fetches, across (rows of A, columns of B) and along K: neighbours read neighbouring
// addresses.
fn block_of(thread: u32, is_contiguous_along_k: bool) -> vec2u {
  if (is_contiguous_along_k) {
    return vec2u(thread / 4u, thread % 4u);
  }
  return vec2u(thread % 16u, thread / 16u);
}

// The columns of a block that lie beyond K, zero.
fn within_k(k: u32, block: mat4x4f) -> mat4x4f {
  let zero = vec4f();
  return mat4x4f(
    block[0],
    select(zero, block[1], k + 1u < params.k),
    select(zero, block[2], k + 2u < params.k),
    select(zero, block[3], k + 3u < params.k),
  );
}

// Column i is k + i, its elements four rows. Four divides the contiguous size; the other is clamped.
fn fetch_a(offset: u32, row: u32, k: u32) -> mat4x4f {
  if (row >= params.m || k >= params.k) {
    return mat4x4f();
  }
  if (params.a_column == 1u) {
    let i = (offset + four(row, params.m) * params.a_row + k) / 4u;
    return transpose(mat4x4f(a4[i.x], a4[i.y], a4[i.z], a4[i.w]));
  }
  let i = (offset + row + four(k, params.k) * params.a_column) / 4u;
  return within_k(k, mat4x4f(a4[i.x], a4[i.y], a4[i.z], a4[i.w]));
}

// Column i is k + i, its elements four columns of B.
fn fetch_b(offset: u32, k: u32, column: u32) -> mat4x4f {
  if (column >= params.n || k >= params.k) {
    return mat4x4f();
  }
  if (params.b_row == 1u) {
    let i = (offset + four(column, params.n) * params.b_column + k) / 4u;
    return transpose(mat4x4f(b4[i.x], b4[i.y], b4[i.z], b4[i.w]));
  }
  let i = (offset + column + four(k, params.k) * params.b_row) / 4u;
  return within_k(k, mat4x4f(b4[i.x], b4[i.y], b4[i.z], b4[i.w]));
}

fn load_a(offset: u32, row: u32, k: u32) -> f32 {
  if (row < params.m && k < params.k) {
    return a[offset + row * params.a_row + k * params.a_column];
  }
  return 0.0;
}

fn load_b(offset: u32, k: u32, column: u32) -> f32 {
  if (column < params.n && k < params.k) {
    return b[offset + k * params.b_row + column * params.b_column];
  }
  return 0.0;
}

fn fetch_any_a(offset: u32, row: u32, k: u32) -> mat4x4f {
  var block: mat4x4f;
  for (var i = 0u; i < 4u; i++) {
    block[i] = vec4f(
      load_a(offset, row, k + i),
      load_a(offset, row + 1u, k + i),
      load_a(offset, row + 2u, k + i),
      load_a(offset, row + 3u, k + i),
    );
  }
  return block;
}

fn fetch_any_b(offset: u32, k: u32, column: u32) -> mat4x4f {
  var block: mat4x4f;
  for (var i = 0u; i < 4u; i++) {
    block[i] = vec4f(
      load_b(offset, k + i, column),
      load_b(offset, k + i, column + 1u),
      load_b(offset, k + i, column + 2u),
      load_b(offset, k + i, column + 3u),
    );
  }
  return block;
}

fn stage(tile: u32, at: vec2u, block: mat4x4f) {
  let i = tile + 4u * at.y * PITCH + at.x;
  tiles[i] = block[0];
  tiles[i + PITCH] = block[1];
  tiles[i + 2u * PITCH] = block[2];
  tiles[i + 3u * PITCH] = block[3];
}

// Of a thread's 8 x 8 sums, rows 4 y and 32 + 4 y of the tile, columns 4 x and 32 + 4 x.
struct Quarters {
  top_left: mat4x4f,
  top_right: mat4x4f,
  bottom_left: mat4x4f,
  bottom_right: mat4x4f,
}

fn outer(rows: vec4f, columns: vec4f) -> mat4x4f {
  return mat4x4f(rows.x * columns, rows.y * columns, rows.z * columns, rows.w * columns);
}

fn multiply_tiles(before: Quarters, local: vec3u) -> Quarters {
  var sums = before;
  for (var k = 0u; k < TILE_K; k++) {
    let top = tiles[TILE_A + k * PITCH + local.y];
    let bottom = tiles[TILE_A + k * PITCH + 8u + local.y];
    let left = tiles[TILE_B + k * PITCH + local.x];
    let right = tiles[TILE_B + k * PITCH + 8u + local.x];
    sums.top_left += outer(top, left);
    sums.top_right += outer(top, right);
    sums.bottom_left += outer(bottom, left);
    sums.bottom_right += outer(bottom, right);
  }
  return sums;
}

fn store_tile(group: vec3u, local: vec3u, sums: Quarters) {
  let row = 64u * group.x + 4u * local.y;
  let column = 64u * group.y + 4u * local.x;
  var quarters = array(sums.top_left, sums.top_right, sums.bottom_left, sums.bottom_right);
  for (var i = 0u; i < 16u; i++) {
    let quarter = i / 4u;
    store4(group.z, row + 32u * (quarter / 2u) + i % 4u, column + 32u * (quarter % 2u), quarters[quarter][i % 4u]);
  }
}

@compute @workgroup_size(8, 8)
fn tiled(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_id) local: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let at_a = block_of(thread, params.a_column == 1u);
  let at_b = block_of(thread, params.b_row == 1u);
  let row = 64u * group.x + 4u * at_a.x;
  let column = 64u * group.y + 4u * at_b.x;
  var sums: Quarters;
  for (var k = 0u; k < params.k; k += TILE_K) {
    stage(TILE_A, at_a, fetch_a(group.z * params.a_batch, row, k + 4u * at_a.y));
    stage(TILE_B, at_b, fetch_b(group.z * params.b_batch, k + 4u * at_b.y, column));
    workgroupBarrier();
    sums = multiply_tiles(sums, local);
    workgroupBarrier();
  }
  store_tile(group, local, sums);
}

@compute @workgroup_size(8, 8)
fn tiled_any(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_id) local: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let at_a = block_of(thread, params.a_column == 1u);
  let at_b = block_of(thread, params.b_row == 1u);
  let row = 64u * group.x + 4u * at_a.x;
  let column = 64u * group.y + 4u * at_b.x;
  var sums: Quarters;
  for (var k = 0u; k < params.k; k += TILE_K) {
    stage(TILE_A, at_a, fetch_any_a(group.z * params.a_batch, row, k + 4u * at_a.y));
    stage(TILE_B, at_b, fetch_any_b(group.z * params.b_batch, k + 4u * at_b.y, column));
    workgroupBarrier();
    sums = multiply_tiles(sums, local);
    workgroupBarrier();
  }
  store_tile(group, local, sums);
}

const SKINNY_ROWS = 16u;
// Threads along x are neighbours in memory: columns where B is row-major, slices of K where it is transposed.
override SKINNY_X: u32 = 32;
override SKINNY_Y: u32 = 8;
override SLICES_ALONG_X: bool = false;
var<workgroup> partials: array<f32, SKINNY_X * SKINNY_Y>;

@compute @workgroup_size(SKINNY_X, SKINNY_Y)
fn skinny(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let columns = select(SKINNY_X, SKINNY_Y, SLICES_ALONG_X);
  let slices = select(SKINNY_Y, SKINNY_X, SLICES_ALONG_X);
  let own = select(local.x, local.y, SLICES_ALONG_X);
  let slice = select(local.y, local.x, SLICES_ALONG_X);
  let column = group.y * columns + own;
  let a_offset = group.z * params.a_batch;
  let b_offset = group.z * params.b_batch;
  var sums: array<f32, SKINNY_ROWS>;
  for (var k = slice; k < params.k; k += slices) {
    let v = load_b(b_offset, k, column);
    for (var row = 0u; row < SKINNY_ROWS; row++) {
      sums[row] += load_a(a_offset, row, k) * v;
    }
  }
  for (var row = 0u; row < params.m; row++) {
    partials[own * slices + slice] = sums[row];
    workgroupBarrier();
    if (slice == 0u) {
      var sum = 0.0;
      for (var i = 0u; i < slices; i++) {
        sum += partials[own * slices + i];
      }
      store(group.z, row, column, sum);
    }
    workgroupBarrier();
  }
}

// ---------------------------------------------------------------- CPU adapters

override ROWS: u32 = 20;
// Whether 4 divides K; else the last step reads zeros beyond it.
override WHOLE_STEPS: bool = false;

// Four k of the row of A at i.
fn row_of_a(i: u32, k: vec4u, inside: vec4<bool>) -> vec4f {
  let v = vec4f(a[i + k.x], a[i + k.y], a[i + k.z], a[i + k.w]);
  if (WHOLE_STEPS) {
    return v;
  }
  return select(vec4f(), v, inside);
}

// Column i is row k[i] of B, its elements the four columns at j.
fn block_of_b(k: vec4u, j: vec4u) -> mat4x4f {
  return mat4x4f(
    vec4f(b[k.x + j.x], b[k.x + j.y], b[k.x + j.z], b[k.x + j.w]),
    vec4f(b[k.y + j.x], b[k.y + j.y], b[k.y + j.z], b[k.y + j.w]),
    vec4f(b[k.z + j.x], b[k.z + j.y], b[k.z + j.z], b[k.z + j.w]),
    vec4f(b[k.w + j.x], b[k.w + j.y], b[k.w + j.z], b[k.w + j.w]),
  );
}

// Four k of a row of A by sixteen columns of B.
fn times(v: vec4f, columns: array<mat4x4f, 4>) -> mat4x4f {
  return mat4x4f(columns[0] * v, columns[1] * v, columns[2] * v, columns[3] * v);
}

// SwiftShader, which this is shaped for, fetches each scalar for four threads one by one, and merges every variable a
// loop changes on each turn: the larger the tile and the step, the fewer of both for each product. It loads a vec4f as
// slowly as four f32, so that all transposes and sizes share this.
@compute @workgroup_size(4)
fn direct(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let row = ROWS * group.x;
  let column = 16u * (4u * group.y + local.x);
  if (row >= params.m || column >= params.n) {
    return;
  }
  let a_offset = group.z * params.a_batch;
  let b_offset = group.z * params.b_batch;
  let i0 = a_offset + four(row + 0u, params.m) * params.a_row;
  let i1 = a_offset + four(row + 4u, params.m) * params.a_row;
  let i2 = a_offset + four(row + 8u, params.m) * params.a_row;
  let i3 = a_offset + four(row + 12u, params.m) * params.a_row;
  let i4 = a_offset + four(row + 16u, params.m) * params.a_row;
  let j0 = b_offset + four(column + 0u, params.n) * params.b_column;
  let j1 = b_offset + four(column + 4u, params.n) * params.b_column;
  let j2 = b_offset + four(column + 8u, params.n) * params.b_column;
  let j3 = b_offset + four(column + 12u, params.n) * params.b_column;
  var s0 = mat4x4f(); var s1 = mat4x4f(); var s2 = mat4x4f(); var s3 = mat4x4f();
  var s4 = mat4x4f(); var s5 = mat4x4f(); var s6 = mat4x4f(); var s7 = mat4x4f();
  var s8 = mat4x4f(); var s9 = mat4x4f(); var s10 = mat4x4f(); var s11 = mat4x4f();
  var s12 = mat4x4f(); var s13 = mat4x4f(); var s14 = mat4x4f(); var s15 = mat4x4f();
  var s16 = mat4x4f(); var s17 = mat4x4f(); var s18 = mat4x4f(); var s19 = mat4x4f();
  for (var k = 0u; k < params.k; k += 4u) {
    let inside = vec4u(k, k + 1u, k + 2u, k + 3u) < vec4u(params.k);
    let ka = four(k, params.k) * params.a_column;
    let kb = four(k, params.k) * params.b_row;
    let columns = array(block_of_b(kb, j0), block_of_b(kb, j1), block_of_b(kb, j2), block_of_b(kb, j3));
    s0 += times(row_of_a(i0.x, ka, inside), columns);
    s1 += times(row_of_a(i0.y, ka, inside), columns);
    s2 += times(row_of_a(i0.z, ka, inside), columns);
    s3 += times(row_of_a(i0.w, ka, inside), columns);
    if (ROWS > 4u) {
      s4 += times(row_of_a(i1.x, ka, inside), columns);
      s5 += times(row_of_a(i1.y, ka, inside), columns);
      s6 += times(row_of_a(i1.z, ka, inside), columns);
      s7 += times(row_of_a(i1.w, ka, inside), columns);
    }
    if (ROWS > 8u) {
      s8 += times(row_of_a(i2.x, ka, inside), columns);
      s9 += times(row_of_a(i2.y, ka, inside), columns);
      s10 += times(row_of_a(i2.z, ka, inside), columns);
      s11 += times(row_of_a(i2.w, ka, inside), columns);
    }
    if (ROWS > 12u) {
      s12 += times(row_of_a(i3.x, ka, inside), columns);
      s13 += times(row_of_a(i3.y, ka, inside), columns);
      s14 += times(row_of_a(i3.z, ka, inside), columns);
      s15 += times(row_of_a(i3.w, ka, inside), columns);
    }
    if (ROWS > 16u) {
      s16 += times(row_of_a(i4.x, ka, inside), columns);
      s17 += times(row_of_a(i4.y, ka, inside), columns);
      s18 += times(row_of_a(i4.z, ka, inside), columns);
      s19 += times(row_of_a(i4.w, ka, inside), columns);
    }
  }
  var sums = array(s0, s1, s2, s3, s4, s5, s6, s7, s8, s9, s10, s11, s12, s13, s14, s15, s16, s17, s18, s19);
  for (var i = 0u; i < 4u * ROWS; i++) {
    store4(group.z, row + i / 4u, column + 4u * (i % 4u), sums[i / 4u][i % 4u]);
  }
}

fn four_of_b(i: vec4u) -> mat4x4f {
  return mat4x4f(b4[i.x], b4[i.y], b4[i.z], b4[i.w]);
}

@compute @workgroup_size(8)
fn row(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let width = params.n / 4u;
  let column = 2u * (8u * group.y + local.x);
  if (column >= width) {
    return;
  }
  let i = group.z * params.a_batch + group.x * params.a_row;
  let left = group.z * params.b_batch / 4u + column;
  let right = group.z * params.b_batch / 4u + min(column + 1u, width - 1u);
  var left_sums = vec4f();
  var right_sums = vec4f();
  for (var k = 0u; k < params.k; k += 4u) {
    let inside = vec4u(k, k + 1u, k + 2u, k + 3u) < vec4u(params.k);
    let v = row_of_a(i, four(k, params.k), inside);
    let rows = four(k, params.k) * width;
    left_sums += four_of_b(left + rows) * v;
    right_sums += four_of_b(right + rows) * v;
  }
  store4(group.z, group.x, 4u * column, left_sums);
  store4(group.z, group.x, 4u * column + 4u, right_sums);
}

@compute @workgroup_size(8)
fn row_nt(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let width = params.k / 4u;
  let column = 4u * (8u * group.y + local.x);
  if (column >= params.n) {
    return;
  }
  let i = (group.z * params.a_batch + group.x * params.a_row) / 4u;
  let j = group.z * params.b_batch / 4u + four(column, params.n) * width;
  var sums = vec4f();
  for (var k = 0u; k < width; k++) {
    sums += transpose(four_of_b(j + k)) * a4[i + k];
  }
  store4(group.z, group.x, column, sums);
}

// --- activate: the same text stands in activation.wgsl (a test compares them) ---
fn sigmoid(v: f32) -> f32 {
  return 1.0 / (1.0 + exp(-clamp(v, -80.0, 80.0)));
}

fn erfc_of_positive(z: f32) -> f32 {
  let t = 1.0 / (1.0 + 0.5 * z);
  let high = 1.48851587 + t * (-0.82215223 + t * 0.17087277);
  let middle = 0.09678418 + t * (-0.18628806 + t * (0.27886807 + t * (-1.13520398 + t * high)));
  return t * exp(-z * z - 1.26551223 + t * (1.00002368 + t * (0.37409196 + t * middle)));
}

fn activate(v: f32) -> f32 {
  switch ACTIVATION {
    // gelu_new: v (1 + tanh u) / 2 = v sigmoid(2 u), u = sqrt(2 / pi) (v + 0.044715 v^3)
    case 1u: { return v * sigmoid(1.5957691216 * (v + 0.044715 * v * v * v)); }
    // gelu: v Phi(v), Phi(v) = erfc(-v / sqrt 2) / 2
    case 2u: {
      let tail = 0.5 * erfc_of_positive(min(abs(v) * 0.70710678119, 9.0));
      return v * select(tail, 1.0 - tail, v > 0.0);
    }
    // gelu_fast: gelu_new with the constant 0.7978845608 for sqrt(2 / pi)
    case 3u: { return v * sigmoid(1.5957691216 * v * (1.0 + 0.044715 * v * v)); }
    case 4u: { return max(v, 0.0); }
    case 5u: { return select(0.01 * v, v, v > 0.0); }
    case 6u: { return v * sigmoid(v); }
    // tanh: the series where 2 sigmoid(2 v) - 1 would cancel
    case 7u: {
      let s = v * v;
      let series = v * (1.0 + s * (-0.33333333 + s * (0.13333333 + s * (-0.05396825 + s * 0.02186949))));
      return select(2.0 * sigmoid(2.0 * v) - 1.0, series, abs(v) < 0.25);
    }
    default: { return v; }
  }
}
// --- end of activate ---
