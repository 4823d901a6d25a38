// Matrix product: C = act(op(A) op(B) + bias) + residual, for each matrix of a batch.
//
// Ways to compute it, chosen by src/ops/matmul.ts:
//   tiled      GPUs. A workgroup of 8 x 8 threads computes a 64 x 64 tile; 16 columns of A and rows of B at a time are
//              staged in workgroup memory, zero-filled at the edges; each thread keeps 8 x 8 sums as four mat4x4f.
//   skinny     GPUs, at most 16 rows. Threads split the columns and K, so that B is read once; partials sums meet in
//              workgroup memory.
//   direct     CPU adapters, where a barrier costs more than a load: no workgroup memory, 10 rows x 8 columns a thread
//              in named accumulators (B row-major); direct_nt and direct_tn for transposed B and A.
//   row        CPU adapters, few rows: 1 row x 16 columns a thread; row_nt for transposed B.
//   general    CPU adapters, sizes that vec4 loads do not divide: 4 x 4 outputs a thread, scalar loads.
//
// Layout: A [batch, M, K] (or [batch, K, M] transposed), B [batch, K, N] (or [batch, N, K]), C and residual
// [batch, M, N], bias [N]. Bindings: 0 uniform, 1 A, 2 B, 3 bias, 4 residual, 5 C.

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

fn outer(rows: vec4f, columns: vec4f) -> mat4x4f {
  return mat4x4f(rows.x * columns, rows.y * columns, rows.z * columns, rows.w * columns);
}

// ---------------------------------------------------------------- GPUs

const TILE_K = 16u;
// [k][row / 4] and [k][column / 4]: the inner loop reads contiguous vec4f.
var<workgroup> tile_a: array<vec4f, TILE_K * 16>;
var<workgroup> tile_b: array<vec4f, TILE_K * 16>;

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

@compute @workgroup_size(8, 8)
fn tiled(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_id) local: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let first_row = group.y * 64u;
  let first_column = group.x * 64u;
  let a_offset = group.z * params.a_batch;
  let b_offset = group.z * params.b_batch;
  var top_left = mat4x4f();
  var top_right = mat4x4f();
  var bottom_left = mat4x4f();
  var bottom_right = mat4x4f();
  for (var first_k = 0u; first_k < params.k; first_k += TILE_K) {
    for (var i = thread; i < TILE_K * 16u; i += 64u) {
      // Neighbouring threads read neighbouring addresses: along K where K is contiguous, else across.
      let along_a = params.a_column == 1u;
      let ak = first_k + select(i / 16u, i % 16u, along_a);
      let row = first_row + 4u * select(i % 16u, i / 16u, along_a);
      tile_a[(ak - first_k) * 16u + (row - first_row) / 4u] = vec4f(
        load_a(a_offset, row, ak),
        load_a(a_offset, row + 1u, ak),
        load_a(a_offset, row + 2u, ak),
        load_a(a_offset, row + 3u, ak),
      );
      let along_b = params.b_row == 1u;
      let bk = first_k + select(i / 16u, i % 16u, along_b);
      let column = first_column + 4u * select(i % 16u, i / 16u, along_b);
      tile_b[(bk - first_k) * 16u + (column - first_column) / 4u] = vec4f(
        load_b(b_offset, bk, column),
        load_b(b_offset, bk, column + 1u),
        load_b(b_offset, bk, column + 2u),
        load_b(b_offset, bk, column + 3u),
      );
    }
    workgroupBarrier();
    for (var k = 0u; k < TILE_K; k++) {
      let top = tile_a[k * 16u + local.y];
      let bottom = tile_a[k * 16u + 8u + local.y];
      let left = tile_b[k * 16u + local.x];
      let right = tile_b[k * 16u + 8u + local.x];
      top_left += outer(top, left);
      top_right += outer(top, right);
      bottom_left += outer(bottom, left);
      bottom_right += outer(bottom, right);
    }
    workgroupBarrier();
  }
  let row = first_row + 4u * local.y;
  let column = first_column + 4u * local.x;
  var quarters = array(top_left, top_right, bottom_left, bottom_right);
  for (var i = 0u; i < 16u; i++) {
    let quarter = i / 4u;
    store4(group.z, row + 32u * (quarter / 2u) + i % 4u, column + 32u * (quarter % 2u), quarters[quarter][i % 4u]);
  }
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
  let column = group.x * columns + own;
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

@compute @workgroup_size(8, 1)
fn direct(@builtin(global_invocation_id) id: vec3u) {
  let row = 10u * id.y;
  let column = 2u * id.x;
  let width = params.n / 4u;
  if (row >= params.m || column >= width) {
    return;
  }
  let last = params.m - 1u;
  let a_offset = id.z * params.a_batch;
  let b_offset = id.z * params.b_batch / 4u;
  let left = b_offset + column;
  let right = b_offset + min(column + 1u, width - 1u);
  let i0 = a_offset + row * params.a_row;
  let i1 = a_offset + min(row + 1u, last) * params.a_row;
  let i2 = a_offset + min(row + 2u, last) * params.a_row;
  let i3 = a_offset + min(row + 3u, last) * params.a_row;
  let i4 = a_offset + min(row + 4u, last) * params.a_row;
  let i5 = a_offset + min(row + 5u, last) * params.a_row;
  let i6 = a_offset + min(row + 6u, last) * params.a_row;
  let i7 = a_offset + min(row + 7u, last) * params.a_row;
  let i8 = a_offset + min(row + 8u, last) * params.a_row;
  let i9 = a_offset + min(row + 9u, last) * params.a_row;
  var l0 = vec4f(); var l1 = vec4f(); var l2 = vec4f(); var l3 = vec4f(); var l4 = vec4f();
  var l5 = vec4f(); var l6 = vec4f(); var l7 = vec4f(); var l8 = vec4f(); var l9 = vec4f();
  var r0 = vec4f(); var r1 = vec4f(); var r2 = vec4f(); var r3 = vec4f(); var r4 = vec4f();
  var r5 = vec4f(); var r6 = vec4f(); var r7 = vec4f(); var r8 = vec4f(); var r9 = vec4f();
  for (var k = 0u; k < params.k; k++) {
    let l = b4[left + k * width];
    let r = b4[right + k * width];
    let v0 = a[i0 + k]; l0 += v0 * l; r0 += v0 * r;
    let v1 = a[i1 + k]; l1 += v1 * l; r1 += v1 * r;
    let v2 = a[i2 + k]; l2 += v2 * l; r2 += v2 * r;
    let v3 = a[i3 + k]; l3 += v3 * l; r3 += v3 * r;
    let v4 = a[i4 + k]; l4 += v4 * l; r4 += v4 * r;
    let v5 = a[i5 + k]; l5 += v5 * l; r5 += v5 * r;
    let v6 = a[i6 + k]; l6 += v6 * l; r6 += v6 * r;
    let v7 = a[i7 + k]; l7 += v7 * l; r7 += v7 * r;
    let v8 = a[i8 + k]; l8 += v8 * l; r8 += v8 * r;
    let v9 = a[i9 + k]; l9 += v9 * l; r9 += v9 * r;
  }
  var left_sums = array(l0, l1, l2, l3, l4, l5, l6, l7, l8, l9);
  var right_sums = array(r0, r1, r2, r3, r4, r5, r6, r7, r8, r9);
  for (var i = 0u; i < 20u; i++) {
    let sums = select(left_sums[i / 2u], right_sums[i / 2u], i % 2u == 1u);
    store4(id.z, row + i / 2u, 4u * (column + i % 2u), sums);
  }
}

// Four rows of a transposed B, each clamped to the last.
fn columns4(offset: u32, column: u32, k: u32) -> mat4x4f {
  let width = params.k / 4u;
  let last = params.n - 1u;
  let i = offset / 4u + k;
  return mat4x4f(
    b4[i + min(column, last) * width],
    b4[i + min(column + 1u, last) * width],
    b4[i + min(column + 2u, last) * width],
    b4[i + min(column + 3u, last) * width],
  );
}

@compute @workgroup_size(8, 1)
fn direct_nt(@builtin(global_invocation_id) id: vec3u) {
  let row = 8u * id.y;
  let column = 4u * id.x;
  if (row >= params.m || column >= params.n) {
    return;
  }
  let last = params.m - 1u;
  let width = params.k / 4u;
  let a_offset = id.z * params.a_batch / 4u;
  let b_offset = id.z * params.b_batch;
  let i0 = a_offset + row * width;
  let i1 = a_offset + min(row + 1u, last) * width;
  let i2 = a_offset + min(row + 2u, last) * width;
  let i3 = a_offset + min(row + 3u, last) * width;
  let i4 = a_offset + min(row + 4u, last) * width;
  let i5 = a_offset + min(row + 5u, last) * width;
  let i6 = a_offset + min(row + 6u, last) * width;
  let i7 = a_offset + min(row + 7u, last) * width;
  var s0 = vec4f(); var s1 = vec4f(); var s2 = vec4f(); var s3 = vec4f();
  var s4 = vec4f(); var s5 = vec4f(); var s6 = vec4f(); var s7 = vec4f();
  for (var k = 0u; k < width; k++) {
    // A row vector times this matrix is its four dot products with the rows of B.
    let columns = columns4(b_offset, column, k);
    s0 += a4[i0 + k] * columns; s1 += a4[i1 + k] * columns;
    s2 += a4[i2 + k] * columns; s3 += a4[i3 + k] * columns;
    s4 += a4[i4 + k] * columns; s5 += a4[i5 + k] * columns;
    s6 += a4[i6 + k] * columns; s7 += a4[i7 + k] * columns;
  }
  var sums = array(s0, s1, s2, s3, s4, s5, s6, s7);
  for (var i = 0u; i < 8u; i++) {
    store4(id.z, row + i, column, sums[i]);
  }
}

@compute @workgroup_size(8, 1)
fn direct_tn(@builtin(global_invocation_id) id: vec3u) {
  let height = params.m / 4u;
  let width = params.n / 4u;
  let row = 2u * id.y;
  let column = 2u * id.x;
  if (row >= height || column >= width) {
    return;
  }
  let top = id.z * params.a_batch / 4u + row;
  let bottom = id.z * params.a_batch / 4u + min(row + 1u, height - 1u);
  let left = id.z * params.b_batch / 4u + column;
  let right = id.z * params.b_batch / 4u + min(column + 1u, width - 1u);
  var l0 = vec4f(); var l1 = vec4f(); var l2 = vec4f(); var l3 = vec4f();
  var l4 = vec4f(); var l5 = vec4f(); var l6 = vec4f(); var l7 = vec4f();
  var r0 = vec4f(); var r1 = vec4f(); var r2 = vec4f(); var r3 = vec4f();
  var r4 = vec4f(); var r5 = vec4f(); var r6 = vec4f(); var r7 = vec4f();
  for (var k = 0u; k < params.k; k++) {
    let t = a4[top + k * height];
    let u = a4[bottom + k * height];
    let l = b4[left + k * width];
    let r = b4[right + k * width];
    l0 += t.x * l; r0 += t.x * r; l1 += t.y * l; r1 += t.y * r;
    l2 += t.z * l; r2 += t.z * r; l3 += t.w * l; r3 += t.w * r;
    l4 += u.x * l; r4 += u.x * r; l5 += u.y * l; r5 += u.y * r;
    l6 += u.z * l; r6 += u.z * r; l7 += u.w * l; r7 += u.w * r;
  }
  var left_sums = array(l0, l1, l2, l3, l4, l5, l6, l7);
  var right_sums = array(r0, r1, r2, r3, r4, r5, r6, r7);
  for (var i = 0u; i < 16u; i++) {
    let sums = select(left_sums[i / 2u], right_sums[i / 2u], i % 2u == 1u);
    store4(id.z, 4u * row + i / 2u, 4u * (column + i % 2u), sums);
  }
}

@compute @workgroup_size(8, 1)
fn row(@builtin(global_invocation_id) id: vec3u) {
  let width = params.n / 4u;
  let last = width - 1u;
  let column = 4u * id.x;
  if (column >= width) {
    return;
  }
  let i = id.z * params.a_batch + id.y * params.a_row;
  let offset = id.z * params.b_batch / 4u;
  let j0 = offset + column;
  let j1 = offset + min(column + 1u, last);
  let j2 = offset + min(column + 2u, last);
  let j3 = offset + min(column + 3u, last);
  var s0 = vec4f(); var s1 = vec4f(); var s2 = vec4f(); var s3 = vec4f();
  for (var k = 0u; k < params.k; k++) {
    let v = a[i + k];
    s0 += v * b4[j0 + k * width];
    s1 += v * b4[j1 + k * width];
    s2 += v * b4[j2 + k * width];
    s3 += v * b4[j3 + k * width];
  }
  var sums = array(s0, s1, s2, s3);
  for (var i = 0u; i < 4u; i++) {
    store4(id.z, id.y, 4u * (column + i), sums[i]);
  }
}

@compute @workgroup_size(8, 1)
fn row_nt(@builtin(global_invocation_id) id: vec3u) {
  let column = 4u * id.x;
  if (column >= params.n) {
    return;
  }
  let i = (id.z * params.a_batch + id.y * params.a_row) / 4u;
  var sums = vec4f();
  for (var k = 0u; k < params.k / 4u; k++) {
    sums += a4[i + k] * columns4(id.z * params.b_batch, column, k);
  }
  store4(id.z, id.y, column, sums);
}

fn four_of_a(offset: u32, row: u32, k: u32) -> vec4f {
  let last = params.m - 1u;
  let i = offset + k * params.a_column;
  return vec4f(
    a[i + row * params.a_row],
    a[i + min(row + 1u, last) * params.a_row],
    a[i + min(row + 2u, last) * params.a_row],
    a[i + min(row + 3u, last) * params.a_row],
  );
}

fn four_of_b(offset: u32, k: u32, column: u32) -> vec4f {
  let last = params.n - 1u;
  let i = offset + k * params.b_row;
  return vec4f(
    b[i + column * params.b_column],
    b[i + min(column + 1u, last) * params.b_column],
    b[i + min(column + 2u, last) * params.b_column],
    b[i + min(column + 3u, last) * params.b_column],
  );
}

@compute @workgroup_size(8, 1)
fn general(@builtin(global_invocation_id) id: vec3u) {
  let row = 4u * id.y;
  let column = 4u * id.x;
  if (row >= params.m || column >= params.n) {
    return;
  }
  var s0 = vec4f(); var s1 = vec4f(); var s2 = vec4f(); var s3 = vec4f();
  for (var k = 0u; k < params.k; k++) {
    let rows = four_of_a(id.z * params.a_batch, row, k);
    let columns = four_of_b(id.z * params.b_batch, k, column);
    s0 += rows.x * columns; s1 += rows.y * columns; s2 += rows.z * columns; s3 += rows.w * columns;
  }
  var sums = array(s0, s1, s2, s3);
  for (var i = 0u; i < 4u; i++) {
    store4(id.z, row + i, column, sums[i]);
  }
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
