// The gradient of causal attention: from the cotangent of its rows to that of their queries, keys and values.
//
// Row r sees entries j: those of its prefix, which are constants in the cache, then the `live` rows of the batch just
// before it, then itself. The keys and values of rows are read from qkv, so the cache may meanwhile hold other rows
// behind the prefix. With s_rj = scale q_r.k_j and O the output of attention:
//   P_rj = exp(s_rj - lse_r)              the weights, made again from lse: no T x T array is ever kept
//   D_r = sum_j P_rj (dy_r.v_j) = dy_r.O_r
//   dS_rj = P_rj (dy_r.v_j - D_r)
//   dq_r = scale sum_j dS_rj k_j          over all that r sees
//   dk_j = scale sum_r dS_rj q_r          over j itself and its `readers`, the rows just after it that see it
//   dv_j = sum_r P_rj dy_r                over the same
//
// Method
//   1. dots: D of each row and head, beside its lse.
//   2. *_queries: dq of up to 4 neighbouring rows of one slot (a tile), going through the entries they see.
//   3. *_keys: dk and dv of the rows of a tile, going through their readers.
//   direct   CPU adapters: a thread does one head of a tile, four entries (or readers) at a time: blocks of 4x4.
//   tiled    GPUs: a workgroup does one head of a tile. For each 64 entries (or readers), a thread does one of them
//            for all 4 rows; then the threads share out the columns of the sums.
//
// Several sets of cotangents stand one after another in dy, each at the same qkv.
//
// Layout: qkv [rows, 3 width]; keys, values [slots, capacity, width]; rows [rows, 4] as (slot, seen, live, readers);
// tiles [tiles, 2] as (first row, number of rows); outputs [rows, width]; lse [rows, heads];
// statistics [sets, rows, heads] as (lse, D); dy [sets, rows, width]; dqkv [sets, rows, 3 width].
// Bindings: 0 uniform, 1 qkv, 2 keys (dots: outputs), 3 values (dots: lse), 4 rows, 5 tiles, 6 statistics, 7 dy,
// 8 dqkv.
// Source: Dao 2023 (FlashAttention-2, arXiv 2307.08691), algorithm 2.

struct Params {
  rows: u32,
  width: u32,
  heads: u32,
  capacity: u32,
  scale: f32,
  // A row sees at most its last `window` keys, itself included; 0 for no limit.
  window: u32,
  tiles: u32,
  sets: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> qkv: array<f32>;
@group(0) @binding(2) var<storage, read> keys: array<f32>;
@group(0) @binding(2) var<storage, read> outputs: array<f32>;
@group(0) @binding(3) var<storage, read> values: array<f32>;
@group(0) @binding(3) var<storage, read> lse: array<f32>;
@group(0) @binding(4) var<storage, read> rows: array<vec4u>;
@group(0) @binding(5) var<storage, read> tiles: array<vec2u>;
@group(0) @binding(6) var<storage, read_write> statistics: array<vec2f>;
@group(0) @binding(7) var<storage, read> dy: array<f32>;
@group(0) @binding(8) var<storage, read_write> dqkv: array<f32>;

const HEAD_DIM: u32 = 64u;

@compute @workgroup_size(64)
fn dots(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let task = id.x + id.y * groups.x * 64u;
  let point = params.rows * params.heads;
  if (task >= params.sets * point) {
    return;
  }
  var sum = 0.0;
  for (var i = 0u; i < HEAD_DIM; i++) {
    sum += dy[task * HEAD_DIM + i] * outputs[task % point * HEAD_DIM + i];
  }
  statistics[task] = vec2f(lse[task % point], sum);
}

// One head of the rows of a tile; component r of a vector is row r of the tile, its last row again beyond its end.
struct Task {
  count: u32,
  // First column of the head, and its number.
  column: u32,
  head: u32,
  // Rows in the sets before this one.
  base: u32,
  slot: u32,
  row: vec4u,
  seen: vec4u,
  live: vec4u,
}

fn open_task(number: u32) -> Task {
  var task: Task;
  let tile = tiles[number / params.heads % params.tiles];
  task.count = tile.y;
  task.head = number % params.heads;
  task.column = task.head * HEAD_DIM;
  task.base = number / params.heads / params.tiles * params.rows;
  task.row = tile.x + min(vec4u(0u, 1u, 2u, 3u), vec4u(tile.y - 1u));
  let about = array(rows[task.row.x], rows[task.row.y], rows[task.row.z], rows[task.row.w]);
  task.slot = about[0].x;
  task.seen = vec4u(about[0].y, about[1].y, about[2].y, about[3].y);
  task.live = vec4u(about[0].z, about[1].z, about[2].z, about[3].z);
  return task;
}

// How many of the rows just after each row see it.
fn readers_of(row: vec4u) -> vec4u {
  return vec4u(rows[row.x].w, rows[row.y].w, rows[row.z].w, rows[row.w].w);
}

// The most rows back, or ahead, that the window leaves in sight.
fn within_window(distance: vec4u) -> vec4u {
  if (params.window > 0u) {
    return min(distance, vec4u(params.window - 1u));
  }
  return distance;
}

fn lowest(v: vec4u) -> u32 {
  return min(min(v.x, v.y), min(v.z, v.w));
}

fn highest(v: vec4u) -> u32 {
  return max(max(v.x, v.y), max(v.z, v.w));
}

fn four_of_qkv(at: vec4u) -> vec4f {
  return vec4f(qkv[at.x], qkv[at.y], qkv[at.z], qkv[at.w]);
}

fn four_of_dy(at: vec4u) -> vec4f {
  return vec4f(dy[at.x], dy[at.y], dy[at.z], dy[at.w]);
}

// Column 0 is lse of four rows, column 1 their D.
fn four_statistics(task: Task, row: vec4u) -> mat2x4f {
  let at = (task.base + row) * params.heads + task.head;
  let four = mat4x2f(statistics[at.x], statistics[at.y], statistics[at.z], statistics[at.w]);
  return transpose(four);
}

// Column c is a * b[c].
fn outer(a: vec4f, b: vec4f) -> mat4x4f {
  return mat4x4f(a * b.x, a * b.y, a * b.z, a * b.w);
}

// P of products q.k, zero where a row does not see the entry.
fn weights_of(products: vec4f, log_sum: vec4f, visible: vec4<bool>) -> vec4f {
  return select(vec4f(), exp(params.scale * products - log_sum), visible);
}

@compute @workgroup_size(4, 1)
fn direct_queries(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let number = id.x + id.y * groups.x * 4u;
  if (number >= params.sets * params.tiles * params.heads) {
    return;
  }
  let task = open_task(number);
  let query = 3u * task.row * params.width + task.column;
  let cotangent = (task.base + task.row) * params.width + task.column;
  let known = four_statistics(task, task.row);
  var dq: array<vec4f, HEAD_DIM>;

  // The prefix, from the cache.
  let prefix = task.seen - task.live;
  let start = task.seen - within_window(task.seen);
  let prefix_end = highest(prefix);
  for (var j = lowest(start); j < prefix_end; j += 4u) {
    let four = j + vec4u(0u, 1u, 2u, 3u);
    let cached = (task.slot * params.capacity + min(four, vec4u(prefix_end - 1u))) * params.width + task.column;
    var s = mat4x4f(); // column c is entry c
    var dp = mat4x4f();
    for (var i = 0u; i < HEAD_DIM; i++) {
      let k = vec4f(keys[cached.x + i], keys[cached.y + i], keys[cached.z + i], keys[cached.w + i]);
      let v = vec4f(values[cached.x + i], values[cached.y + i], values[cached.z + i], values[cached.w + i]);
      s += outer(four_of_qkv(query + i), k);
      dp += outer(four_of_dy(cotangent + i), v);
    }
    for (var c = 0u; c < 4u; c++) {
      let visible = (vec4u(j + c) >= start) & (vec4u(j + c) < prefix);
      s[c] = weights_of(s[c], known[0], visible) * (dp[c] - known[1]);
    }
    for (var i = 0u; i < HEAD_DIM; i++) {
      dq[i] += s * vec4f(keys[cached.x + i], keys[cached.y + i], keys[cached.z + i], keys[cached.w + i]);
    }
  }

  // The rows of the batch, itself the last.
  let first = task.row - within_window(task.live);
  let last = task.row.w;
  for (var j = lowest(first); j <= last; j += 4u) {
    let four = j + vec4u(0u, 1u, 2u, 3u);
    let key = (3u * min(four, vec4u(last)) + 1u) * params.width + task.column;
    let value = key + params.width;
    var s = mat4x4f();
    var dp = mat4x4f();
    for (var i = 0u; i < HEAD_DIM; i++) {
      s += outer(four_of_qkv(query + i), four_of_qkv(key + i));
      dp += outer(four_of_dy(cotangent + i), four_of_qkv(value + i));
    }
    for (var c = 0u; c < 4u; c++) {
      let visible = (vec4u(j + c) >= first) & (vec4u(j + c) <= task.row);
      s[c] = weights_of(s[c], known[0], visible) * (dp[c] - known[1]);
    }
    for (var i = 0u; i < HEAD_DIM; i++) {
      dq[i] += s * four_of_qkv(key + i);
    }
  }

  for (var i = 0u; i < HEAD_DIM; i++) {
    for (var r = 0u; r < task.count; r++) {
      dqkv[3u * (task.base + task.row[r]) * params.width + task.column + i] = params.scale * dq[i][r];
    }
  }
}

@compute @workgroup_size(4, 1)
fn direct_keys(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let number = id.x + id.y * groups.x * 4u;
  if (number >= params.sets * params.tiles * params.heads) {
    return;
  }
  let task = open_task(number);
  let key = (3u * task.row + 1u) * params.width + task.column;
  let value = key + params.width;
  var dk: array<vec4f, HEAD_DIM>;
  var dv: array<vec4f, HEAD_DIM>;
  let reach = task.row + within_window(readers_of(task.row));
  let last = highest(reach);
  for (var r = task.row.x; r <= last; r += 4u) {
    let reader = min(r + vec4u(0u, 1u, 2u, 3u), vec4u(last));
    let query = 3u * reader * params.width + task.column;
    let cotangent = (task.base + reader) * params.width + task.column;
    let known = four_statistics(task, reader);
    var s = mat4x4f(); // column c is reader c
    var dp = mat4x4f();
    for (var i = 0u; i < HEAD_DIM; i++) {
      s += outer(four_of_qkv(key + i), four_of_qkv(query + i));
      dp += outer(four_of_qkv(value + i), four_of_dy(cotangent + i));
    }
    for (var c = 0u; c < 4u; c++) {
      let visible = (vec4u(r + c) >= task.row) & (vec4u(r + c) <= reach);
      let p = weights_of(s[c], vec4f(known[0][c]), visible);
      s[c] = p * (dp[c] - known[1][c]);
      dp[c] = p;
    }
    for (var i = 0u; i < HEAD_DIM; i++) {
      dk[i] += s * four_of_qkv(query + i);
      dv[i] += dp * four_of_dy(cotangent + i);
    }
  }
  for (var i = 0u; i < HEAD_DIM; i++) {
    for (var r = 0u; r < task.count; r++) {
      let at = (3u * (task.base + task.row[r]) + 1u) * params.width + task.column + i;
      dqkv[at] = params.scale * dk[i][r];
      dqkv[at + params.width] = dv[i][r];
    }
  }
}

const TILE_ENTRIES = 64u;
const COLUMNS = (HEAD_DIM + TILE_ENTRIES - 1u) / TILE_ENTRIES;

// Entry [.][r] belongs to row r of the tile.
var<workgroup> left: array<vec4f, HEAD_DIM>;
var<workgroup> right: array<vec4f, HEAD_DIM>;
var<workgroup> weights: array<vec4f, TILE_ENTRIES>;
var<workgroup> score_gradients: array<vec4f, TILE_ENTRIES>;

@compute @workgroup_size(TILE_ENTRIES)
fn tiled_queries(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let number = group.x + group.y * groups.x;
  if (number >= params.sets * params.tiles * params.heads) {
    return;
  }
  let task = open_task(number);
  let known = four_statistics(task, task.row);
  for (var i = thread; i < HEAD_DIM; i += TILE_ENTRIES) {
    left[i] = four_of_qkv(3u * task.row * params.width + task.column + i);
    right[i] = four_of_dy((task.base + task.row) * params.width + task.column + i);
  }
  workgroupBarrier();

  // Entries are counted through: those of the prefix, then the rows of the batch.
  let prefix = task.seen - task.live;
  let start = task.seen - within_window(task.seen);
  let first = task.row - within_window(task.live);
  let prefix_first = lowest(start);
  let prefix_count = max(highest(prefix), prefix_first) - prefix_first;
  let row_first = lowest(first);
  let count = prefix_count + task.row.w + 1u - row_first;
  let cache_at = (task.slot * params.capacity + prefix_first) * params.width + task.column;
  let rows_at = (3u * row_first + 1u) * params.width + task.column;
  var dq: array<vec4f, COLUMNS>;
  for (var tile = 0u; tile < count; tile += TILE_ENTRIES) {
    let e = tile + thread;
    var s = vec4f();
    var dp = vec4f();
    var visible = vec4<bool>();
    if (e < prefix_count) {
      let position = vec4u(prefix_first + e);
      visible = (position >= start) & (position < prefix);
      let cached = cache_at + e * params.width;
      for (var i = 0u; i < HEAD_DIM; i++) {
        s += left[i] * keys[cached + i];
        dp += right[i] * values[cached + i];
      }
    } else if (e < count) {
      let row = vec4u(row_first + e - prefix_count);
      visible = (row >= first) & (row <= task.row);
      let key = rows_at + 3u * (e - prefix_count) * params.width;
      for (var i = 0u; i < HEAD_DIM; i++) {
        s += left[i] * qkv[key + i];
        dp += right[i] * qkv[key + params.width + i];
      }
    }
    score_gradients[thread] = weights_of(s, known[0], visible) * (dp - known[1]);
    workgroupBarrier();
    let end = min(TILE_ENTRIES, count - tile);
    let cached_end = min(end, max(prefix_count, tile) - tile);
    for (var i = 0u; i < COLUMNS; i++) {
      let column = min(thread + i * TILE_ENTRIES, HEAD_DIM - 1u);
      var sum = dq[i];
      for (var k = 0u; k < cached_end; k++) {
        sum += score_gradients[k] * keys[cache_at + (tile + k) * params.width + column];
      }
      for (var k = cached_end; k < end; k++) {
        sum += score_gradients[k] * qkv[rows_at + 3u * (tile + k - prefix_count) * params.width + column];
      }
      dq[i] = sum;
    }
    workgroupBarrier();
  }
  for (var i = 0u; i < COLUMNS; i++) {
    let column = thread + i * TILE_ENTRIES;
    if (column < HEAD_DIM) {
      for (var r = 0u; r < task.count; r++) {
        dqkv[3u * (task.base + task.row[r]) * params.width + task.column + column] = params.scale * dq[i][r];
      }
    }
  }
}

@compute @workgroup_size(TILE_ENTRIES)
fn tiled_keys(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let number = group.x + group.y * groups.x;
  if (number >= params.sets * params.tiles * params.heads) {
    return;
  }
  let task = open_task(number);
  for (var i = thread; i < HEAD_DIM; i += TILE_ENTRIES) {
    let key = (3u * task.row + 1u) * params.width + task.column + i;
    left[i] = four_of_qkv(key);
    right[i] = four_of_qkv(key + params.width);
  }
  workgroupBarrier();
  let reach = task.row + within_window(readers_of(task.row));
  let count = highest(reach) + 1u - task.row.x;
  let query = 3u * task.row.x * params.width + task.column;
  let cotangent = (task.base + task.row.x) * params.width + task.column;
  var dk: array<vec4f, COLUMNS>;
  var dv: array<vec4f, COLUMNS>;
  for (var tile = 0u; tile < count; tile += TILE_ENTRIES) {
    let e = tile + thread;
    var p = vec4f();
    var ds = vec4f();
    if (e < count) {
      let reader = task.row.x + e;
      var s = vec4f();
      var dp = vec4f();
      for (var i = 0u; i < HEAD_DIM; i++) {
        s += left[i] * qkv[query + 3u * e * params.width + i];
        dp += right[i] * dy[cotangent + e * params.width + i];
      }
      let known = statistics[(task.base + reader) * params.heads + task.head];
      p = weights_of(s, vec4f(known.x), (vec4u(reader) >= task.row) & (vec4u(reader) <= reach));
      ds = p * (dp - known.y);
    }
    weights[thread] = p;
    score_gradients[thread] = ds;
    workgroupBarrier();
    let end = min(TILE_ENTRIES, count - tile);
    for (var i = 0u; i < COLUMNS; i++) {
      let column = min(thread + i * TILE_ENTRIES, HEAD_DIM - 1u);
      var dk_sum = dk[i];
      var dv_sum = dv[i];
      for (var k = 0u; k < end; k++) {
        dk_sum += score_gradients[k] * qkv[query + 3u * (tile + k) * params.width + column];
        dv_sum += weights[k] * dy[cotangent + (tile + k) * params.width + column];
      }
      dk[i] = dk_sum;
      dv[i] = dv_sum;
    }
    workgroupBarrier();
  }
  for (var i = 0u; i < COLUMNS; i++) {
    let column = thread + i * TILE_ENTRIES;
    if (column < HEAD_DIM) {
      for (var r = 0u; r < task.count; r++) {
        let at = (3u * (task.base + task.row[r]) + 1u) * params.width + task.column + column;
        dqkv[at] = params.scale * dk[i][r];
        dqkv[at + params.width] = dv[i][r];
      }
    }
  }
}
