// Element by element: y = a + scale b and y = a b (b may repeat, as one row for all), y = scale a.
//
// Method: one thread per element of y.
//
// Layout: a, y [size], b [b_size] with b_size dividing size. Bindings: 0 uniform, 1 a, 2 b, 3 y.

struct Params {
  size: u32,
  b_size: u32,
  scale: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

override WORKGROUP: u32 = 64;

fn element(id: vec3u, groups: vec3u) -> u32 {
  return id.x + id.y * groups.x * WORKGROUP;
}

@compute @workgroup_size(WORKGROUP)
fn add(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = element(id, groups);
  if (i < params.size) {
    y[i] = a[i] + params.scale * b[i % params.b_size];
  }
}

@compute @workgroup_size(WORKGROUP)
fn scale(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = element(id, groups);
  if (i < params.size) {
    y[i] = params.scale * a[i];
  }
}

@compute @workgroup_size(WORKGROUP)
fn multiply(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = element(id, groups);
  if (i < params.size) {
    y[i] = a[i] * b[i % params.b_size];
  }
}
