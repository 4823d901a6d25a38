// The tangent of causal attention: from the tangent of its rows' queries, keys and values to that of its output.
//
// Row r sees entries j as in attention-vjp.wgsl: its prefix, which is constant, the `live` rows of the batch just
// before it, and itself. With P_rj = exp(scale q_r.k_j - lse_r), o_r the output, and dk, dv zero for the prefix:
//   dS_rj = scale (dq_r.k_j + q_r.dk_j)
//   dy_r = sum_j P_rj (dv_j + dS_rj (v_j - o_r))
//
// Method
//   1. Going through the entries, add up o = sum P v, c = sum P dS, and a = sum (P dv + P dS v).
//   2. dy = a - c o.
//   direct   CPU adapters: a thread does one head of up to 4 neighbouring rows of one slot (a tile), four entries at a
//            time: blocks of 4x4.
//   tiled    GPUs: a workgroup does one head of a tile. For each 64 entries, a thread does one of them for all 4 rows;
//            then the threads share out the columns of the sums.
//
// Several sets of tangents stand one after another in dqkv, each at the same qkv.
//
// Layout: qkv [rows, 3 width]; keys, values [slots, capacity, width]; rows [rows, 4] as (slot, seen, live, readers);
// tiles [tiles, 2] as (first row, number of rows); lse [rows, heads]; dqkv [sets, rows, 3 width]; dy [sets, rows,
// width].
// Bindings: 0 uniform, 1 qkv, 2 keys, 3 values, 4 rows, 5 tiles, 6 lse, 7 dqkv, 8 dy.

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
@group(0) @binding(3) var<storage, read> values: array<f32>;
@group(0) @binding(4) var<storage, read> rows: array<vec4u>;
@group(0) @binding(5) var<storage, read> tiles: array<vec2u>;
@group(0) @binding(6) var<storage, read> lse: array<f32>;
@group(0) @binding(7) var<storage, read> dqkv: array<f32>;
@group(0) @binding(8) var<storage, read_write> dy: array<f32>;

const HEAD_DIM: u32 = 64u;

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

// The most rows back that the window leaves in sight.
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

fn four_of_dqkv(at: vec4u) -> vec4f {
  return vec4f(dqkv[at.x], dqkv[at.y], dqkv[at.z], dqkv[at.w]);
}

fn four_log_sums(task: Task) -> vec4f {
  let at = task.row * params.heads + task.head;
  return vec4f(lse[at.x], lse[at.y], lse[at.z], lse[at.w]);
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
fn direct(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let number = id.x + id.y * groups.x * 4u;
  if (number >= params.sets * params.tiles * params.heads) {
    return;
  }
  let task = open_task(number);
  let query = 3u * task.row * params.width + task.column;
  let dquery = query + 3u * task.base * params.width;
  let log_sum = four_log_sums(task);
  var o: array<vec4f, HEAD_DIM>;
  var a: array<vec4f, HEAD_DIM>;
  var c = vec4f();

  // The prefix, from the cache.
  let prefix = task.seen - task.live;
  let start = task.seen - within_window(task.seen);
  let prefix_end = highest(prefix);
  for (var j = lowest(start); j < prefix_end; j += 4u) {
    let four = j + vec4u(0u, 1u, 2u, 3u);
    let cached = (task.slot * params.capacity + min(four, vec4u(prefix_end - 1u))) * params.width + task.column;
    var p = mat4x4f(); // column e is entry e
    var pds = mat4x4f();
    for (var i = 0u; i < HEAD_DIM; i++) {
      let k = vec4f(keys[cached.x + i], keys[cached.y + i], keys[cached.z + i], keys[cached.w + i]);
      p += outer(four_of_qkv(query + i), k);
      pds += outer(four_of_dqkv(dquery + i), k);
    }
    for (var e = 0u; e < 4u; e++) {
      let visible = (vec4u(j + e) >= start) & (vec4u(j + e) < prefix);
      p[e] = weights_of(p[e], log_sum, visible);
      pds[e] *= params.scale * p[e];
      c += pds[e];
    }
    for (var i = 0u; i < HEAD_DIM; i++) {
      let v = vec4f(values[cached.x + i], values[cached.y + i], values[cached.z + i], values[cached.w + i]);
      o[i] += p * v;
      a[i] += pds * v;
    }
  }

  // The rows of the batch, itself the last.
  let first = task.row - within_window(task.live);
  let last = task.row.w;
  for (var j = lowest(first); j <= last; j += 4u) {
    let four = j + vec4u(0u, 1u, 2u, 3u);
    let key = (3u * min(four, vec4u(last)) + 1u) * params.width + task.column;
    let dkey = key + 3u * task.base * params.width;
    let value = key + params.width;
    let dvalue = dkey + params.width;
    var p = mat4x4f();
    var pds = mat4x4f();
    for (var i = 0u; i < HEAD_DIM; i++) {
      let q = four_of_qkv(query + i);
      let k = four_of_qkv(key + i);
      p += outer(q, k);
      pds += outer(four_of_dqkv(dquery + i), k) + outer(q, four_of_dqkv(dkey + i));
    }
    for (var e = 0u; e < 4u; e++) {
      let visible = (vec4u(j + e) >= first) & (vec4u(j + e) <= task.row);
      p[e] = weights_of(p[e], log_sum, visible);
      pds[e] *= params.scale * p[e];
      c += pds[e];
    }
    for (var i = 0u; i < HEAD_DIM; i++) {
      let v = four_of_qkv(value + i);
      o[i] += p * v;
      a[i] += pds * v + p * four_of_dqkv(dvalue + i);
    }
  }

  for (var i = 0u; i < HEAD_DIM; i++) {
    let sum = a[i] - c * o[i];
    for (var r = 0u; r < task.count; r++) {
      dy[(task.base + task.row[r]) * params.width + task.column + i] = sum[r];
    }
  }
}

const TILE_ENTRIES = 64u;
const COLUMNS = (HEAD_DIM + TILE_ENTRIES - 1u) / TILE_ENTRIES;

// Entry [.][r] belongs to row r of the tile.
var<workgroup> queries: array<vec4f, HEAD_DIM>;
var<workgroup> dqueries: array<vec4f, HEAD_DIM>;
var<workgroup> weights: array<vec4f, TILE_ENTRIES>;
var<workgroup> dscores: array<vec4f, TILE_ENTRIES>; // times the weights

@compute @workgroup_size(TILE_ENTRIES)
fn tiled(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let number = group.x + group.y * groups.x;
  if (number >= params.sets * params.tiles * params.heads) {
    return;
  }
  let task = open_task(number);
  let log_sum = four_log_sums(task);
  let tangent = 3u * task.base * params.width; // from an index into qkv to the one into dqkv
  for (var i = thread; i < HEAD_DIM; i += TILE_ENTRIES) {
    let query = 3u * task.row * params.width + task.column + i;
    queries[i] = four_of_qkv(query);
    dqueries[i] = four_of_dqkv(tangent + query);
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
  var o: array<vec4f, COLUMNS>;
  var a: array<vec4f, COLUMNS>;
  var c = vec4f();
  for (var tile = 0u; tile < count; tile += TILE_ENTRIES) {
    let e = tile + thread;
    var s = vec4f();
    var ds = vec4f();
    var visible = vec4<bool>();
    if (e < prefix_count) {
      let position = vec4u(prefix_first + e);
      visible = (position >= start) & (position < prefix);
      let cached = cache_at + e * params.width;
      for (var i = 0u; i < HEAD_DIM; i++) {
        s += queries[i] * keys[cached + i];
        ds += dqueries[i] * keys[cached + i];
      }
    } else if (e < count) {
      let row = vec4u(row_first + e - prefix_count);
      visible = (row >= first) & (row <= task.row);
      let key = rows_at + 3u * (e - prefix_count) * params.width;
      for (var i = 0u; i < HEAD_DIM; i++) {
        s += queries[i] * qkv[key + i];
        ds += dqueries[i] * qkv[key + i] + queries[i] * dqkv[tangent + key + i];
      }
    }
    let p = weights_of(s, log_sum, visible);
    weights[thread] = p;
    dscores[thread] = params.scale * p * ds;
    workgroupBarrier();
    let end = min(TILE_ENTRIES, count - tile);
    let cached_end = min(end, max(prefix_count, tile) - tile);
    for (var k = 0u; k < end; k++) {
      c += dscores[k];
    }
    for (var i = 0u; i < COLUMNS; i++) {
      let column = min(thread + i * TILE_ENTRIES, HEAD_DIM - 1u);
      var o_sum = o[i];
      var a_sum = a[i];
      for (var k = 0u; k < cached_end; k++) {
        let v = values[cache_at + (tile + k) * params.width + column];
        o_sum += weights[k] * v;
        a_sum += dscores[k] * v;
      }
      for (var k = cached_end; k < end; k++) {
        let value = rows_at + (3u * (tile + k - prefix_count) + 1u) * params.width + column;
        let v = qkv[value];
        o_sum += weights[k] * v;
        a_sum += dscores[k] * v + weights[k] * dqkv[tangent + value];
      }
      o[i] = o_sum;
      a[i] = a_sum;
    }
    workgroupBarrier();
  }
  for (var i = 0u; i < COLUMNS; i++) {
    let column = thread + i * TILE_ENTRIES;
    if (column < HEAD_DIM) {
      let sum = a[i] - c * o[i];
      for (var r = 0u; r < task.count; r++) {
        dy[(task.base + task.row[r]) * params.width + task.column + column] = sum[r];
      }
    }
  }
}
