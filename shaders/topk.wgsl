// Top-k: the k smallest or largest values of each row, best first, with their indices; ties go to the lower index.
//
// Method
//   1. Each thread keeps the k best of one chunk of a row, by insertion into a sorted list.
//   2. The lists of a row are a shorter row of candidates: the same kernel runs again over them (WITH_INDICES) until
//      one chunk is left. CPU adapters use one chunk from the start.
//
// Layout: values, candidates [rows, width]; best, index [rows, chunks, k]. Slots without a value hold index 0xffffffff.
// Bindings: 0 uniform, 1 values, 2 candidates, 3 best, 4 index.

struct Params {
  rows: u32,
  width: u32,
  chunk: u32,
  chunks: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> values: array<f32>;
@group(0) @binding(2) var<storage, read> candidates: array<u32>;
@group(0) @binding(3) var<storage, read_write> best: array<f32>;
@group(0) @binding(4) var<storage, read_write> index: array<u32>;

const K: u32 = 16u;
override LARGEST: bool = false;
override WITH_INDICES: bool = false;

const NONE = 0xffffffffu;
const HIGHEST = 3.402823e+38;

@compute @workgroup_size(16)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let list = id.x + id.y * groups.x * 16u;
  if (list >= params.rows * params.chunks) {
    return;
  }
  let row = list / params.chunks;
  let first = list % params.chunks * params.chunk;
  let end = min(first + params.chunk, params.width);
  // Sorted by `key`, lowest first.
  var keys: array<f32, K>;
  var indices: array<u32, K>;
  for (var i = 0u; i < K; i++) {
    keys[i] = HIGHEST;
    indices[i] = NONE;
  }
  for (var i = first; i < end; i++) {
    let value = values[row * params.width + i];
    let key = select(value, -value, LARGEST);
    if (!(key < keys[K - 1u])) {
      continue;
    }
    var candidate = i;
    if (WITH_INDICES) {
      candidate = candidates[row * params.width + i];
    }
    var slot = K - 1u;
    while (slot > 0u && key < keys[slot - 1u]) {
      keys[slot] = keys[slot - 1u];
      indices[slot] = indices[slot - 1u];
      slot--;
    }
    keys[slot] = key;
    indices[slot] = candidate;
  }
  for (var i = 0u; i < K; i++) {
    best[list * K + i] = select(keys[i], -keys[i], LARGEST);
    index[list * K + i] = indices[i];
  }
}
