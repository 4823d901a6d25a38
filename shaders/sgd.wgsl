// One step of gradient descent on one tensor, in place: p = p - learning_rate * factor * gradient.
//
// Method: one thread per element; a factor of 0 means that some gradient is no number: nothing changes.
//
// Layout: gradient, p [size], factor [1]. Bindings: 0 uniform, 1 gradient, 2 factor, 3 p.

struct Params {
  size: u32,
  learning_rate: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> gradient: array<f32>;
@group(0) @binding(2) var<storage, read> factor: array<f32>;
@group(0) @binding(3) var<storage, read_write> p: array<f32>;

override WORKGROUP: u32 = 64;

@compute @workgroup_size(WORKGROUP)
fn sgd(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = id.x + id.y * groups.x * WORKGROUP;
  if (i < params.size && factor[0] != 0.0) {
    p[i] = p[i] - params.learning_rate * factor[0] * gradient[i];
  }
}
