// Causal attention of new rows over a K/V cache.
//
// Row r sees the first seen_r entries of cache slot slots_r, and its own key and value, which come with it in qkv. So
// one kernel serves a prompt (its rows are appended first and each sees those before it), windows, candidates that
// share a prefix without seeing each other, and many prompts at once. No T x T array is ever made.
//
// Method
//   1. The running maximum m, the running sum l and the weighted values start with the row itself: m = q.k, l = 1, v.
//   2. Each further key rescales them when the maximum grows (online softmax); the output is the weighted sum / l.
//   3. lse = m + log l, the logarithm of the sum of exp(scores), is all that derivatives need to know of the weights.
//   direct   CPU adapters: a thread does one head of one row, four keys at a time.
//   tiled    GPUs: a workgroup does one head of up to 4 neighbouring rows with one slot. For each tile of 64 keys,
//            a thread scores one key for all 4 rows; then the threads share out the columns of the values.
//
// Layout: qkv [rows, 3 width]; keys, values [slots, capacity, width]; rows [rows, 4] as (slot, seen, live, readers), of
// which derivatives need the last two; tiles [tiles, 2] as (first row, number of rows); y [rows, width]; lse [rows,
// heads]. Heads lie side by side within width.
// Bindings: 0 uniform, 1 qkv, 2 keys, 3 values, 4 rows, 5 tiles, 6 y, 7 lse.
// Source: Vaswani et al. 2017; Milakov and Gimelshein 2018; Dao 2023 (FlashAttention-2).

struct Params {
  rows: u32,
  width: u32,
  heads: u32,
  capacity: u32,
  scale: f32,
  // A row sees at most its last `window` keys, itself included; 0 for no limit.
  window: u32,
  tiles: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> qkv: array<f32>;
@group(0) @binding(2) var<storage, read> keys: array<f32>;
@group(0) @binding(3) var<storage, read> values: array<f32>;
@group(0) @binding(4) var<storage, read> rows: array<vec4u>;
@group(0) @binding(5) var<storage, read> tiles: array<vec2u>;
@group(0) @binding(6) var<storage, read_write> y: array<f32>;
@group(0) @binding(7) var<storage, read_write> lse: array<f32>;

const HEAD_DIM: u32 = 64u;

// The first cached key a row sees.
fn first_key(seen: u32) -> u32 {
  if (params.window > 0u && seen + 1u > params.window) {
    return seen + 1u - params.window;
  }
  return 0u;
}

@compute @workgroup_size(4, 1)
fn direct(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let task = id.x + id.y * groups.x * 4u;
  let row = task / params.heads;
  if (row >= params.rows) {
    return;
  }
  let head = task % params.heads * HEAD_DIM;
  let query = 3u * row * params.width + head;
  let own_key = query + params.width;
  let own_value = own_key + params.width;
  var sums: array<f32, HEAD_DIM>;
  var maximum = 0.0;
  for (var i = 0u; i < HEAD_DIM; i++) {
    maximum += qkv[query + i] * qkv[own_key + i];
    sums[i] = qkv[own_value + i];
  }
  maximum *= params.scale;
  var total = 1.0;
  let slot = rows[row].x * params.capacity;
  let seen = rows[row].y;
  for (var j = first_key(seen); j < seen; j += 4u) {
    // The last group repeats its last key, with weight 0.
    let last = seen - 1u;
    let four = min(vec4u(j, j + 1u, j + 2u, j + 3u), vec4u(last));
    let cached = (slot + four) * params.width + head;
    var scores = vec4f();
    for (var i = 0u; i < HEAD_DIM; i++) {
      let k = vec4f(keys[cached.x + i], keys[cached.y + i], keys[cached.z + i], keys[cached.w + i]);
      scores += qkv[query + i] * k;
    }
    scores *= params.scale;
    let grown = max(maximum, max(max(scores.x, scores.y), max(scores.z, scores.w)));
    let keep = exp(maximum - grown);
    let present = vec4u(j, j + 1u, j + 2u, j + 3u) <= vec4u(last);
    let weight = select(vec4f(), exp(scores - grown), present);
    maximum = grown;
    total = total * keep + dot(weight, vec4f(1.0));
    for (var i = 0u; i < HEAD_DIM; i++) {
      let v = vec4f(values[cached.x + i], values[cached.y + i], values[cached.z + i], values[cached.w + i]);
      sums[i] = sums[i] * keep + dot(weight, v);
    }
  }
  for (var i = 0u; i < HEAD_DIM; i++) {
    y[row * params.width + head + i] = sums[i] / total;
  }
  lse[task] = maximum + log(total);
}

const TILE_ROWS = 4u;
const TILE_KEYS = 64u;
const COLUMNS = (HEAD_DIM + TILE_KEYS - 1u) / TILE_KEYS;
const LOWEST = -3.402823e+38;

// Entry [.][r] belongs to row r of the tile.
var<workgroup> queries: array<vec4f, HEAD_DIM>;
var<workgroup> weights: array<vec4f, TILE_KEYS>;
var<workgroup> state_maximum: vec4f;
var<workgroup> state_total: vec4f;
var<workgroup> state_keep: vec4f;

fn four_rows(tile: vec2u, offset: u32) -> vec4f {
  let stride = 3u * params.width;
  let last = tile.y - 1u;
  let i = tile.x * stride + offset;
  return vec4f(
    qkv[i],
    qkv[i + min(1u, last) * stride],
    qkv[i + min(2u, last) * stride],
    qkv[i + min(3u, last) * stride],
  );
}

@compute @workgroup_size(TILE_KEYS)
fn tiled(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let task = group.x + group.y * groups.x;
  if (task >= params.tiles * params.heads) {
    return;
  }
  let tile = tiles[task / params.heads];
  let head = task % params.heads * HEAD_DIM;
  let last = tile.y - 1u;
  let seen = vec4u(
    rows[tile.x].y,
    rows[tile.x + min(1u, last)].y,
    rows[tile.x + min(2u, last)].y,
    rows[tile.x + min(3u, last)].y,
  );
  let start = vec4u(first_key(seen.x), first_key(seen.y), first_key(seen.z), first_key(seen.w));
  let slot = rows[tile.x].x * params.capacity;
  for (var i = thread; i < HEAD_DIM; i += TILE_KEYS) {
    queries[i] = four_rows(tile, head + i);
  }
  var sums: array<vec4f, COLUMNS>;
  for (var i = 0u; i < COLUMNS; i++) {
    sums[i] = four_rows(tile, 2u * params.width + head + min(thread + i * TILE_KEYS, HEAD_DIM - 1u));
  }
  workgroupBarrier();
  if (thread == 0u) {
    var own = vec4f();
    for (var i = 0u; i < HEAD_DIM; i++) {
      own += queries[i] * four_rows(tile, params.width + head + i);
    }
    state_maximum = own * params.scale;
    state_total = vec4f(1.0);
  }
  workgroupBarrier();
  let end = max(max(seen.x, seen.y), max(seen.z, seen.w));
  let begin = min(min(start.x, start.y), min(start.z, start.w));
  for (var first = begin; first < end; first += TILE_KEYS) {
    let j = first + thread;
    var score = vec4f();
    if (j < end) {
      let cached = (slot + j) * params.width + head;
      for (var i = 0u; i < HEAD_DIM; i++) {
        score += queries[i] * keys[cached + i];
      }
    }
    score *= params.scale;
    let visible = (vec4u(j) < seen) & (vec4u(j) >= start);
    weights[thread] = select(vec4f(LOWEST), score, visible);
    workgroupBarrier();
    if (thread == 0u) {
      var grown = state_maximum;
      for (var i = 0u; i < TILE_KEYS; i++) {
        grown = max(grown, weights[i]);
      }
      state_keep = exp(state_maximum - grown);
      state_maximum = grown;
    }
    workgroupBarrier();
    weights[thread] = select(vec4f(), exp(score - state_maximum), visible);
    workgroupBarrier();
    if (thread == 0u) {
      var sum = vec4f();
      for (var i = 0u; i < TILE_KEYS; i++) {
        sum += weights[i];
      }
      state_total = state_total * state_keep + sum;
    }
    let count = min(TILE_KEYS, end - first);
    for (var i = 0u; i < COLUMNS; i++) {
      let column = head + min(thread + i * TILE_KEYS, HEAD_DIM - 1u);
      var sum = sums[i] * state_keep;
      for (var k = 0u; k < count; k++) {
        sum += weights[k] * values[(slot + first + k) * params.width + column];
      }
      sums[i] = sum;
    }
    workgroupBarrier();
  }
  if (thread < tile.y) {
    lse[(tile.x + thread) * params.heads + task % params.heads] = state_maximum[thread] + log(state_total[thread]);
  }
  for (var i = 0u; i < COLUMNS; i++) {
    let column = thread + i * TILE_KEYS;
    if (column < HEAD_DIM) {
      for (var r = 0u; r < tile.y; r++) {
        y[(tile.x + r) * params.width + head + column] = sums[i][r] / state_total[r];
      }
    }
  }
}
