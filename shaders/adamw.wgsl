// One step of AdamW on one tensor, in place.
//
// Method: one thread per element.
//   1. g = factor * gradient; a factor of 0 means that some gradient is no number: nothing changes.
//   2. m = beta1 m + (1 - beta1) g and v = beta2 v + (1 - beta2) g^2, the running moments of the gradient.
//   3. p = shrink p - step_size m / (sqrt(v) / root_correction2 + epsilon), where the caller has computed
//      shrink = 1 - learning rate * decay (decoupled weight decay), step_size = learning rate / (1 - beta1^t) and
//      root_correction2 = sqrt(1 - beta2^t) in float64.
//
// Layout: gradient, p, m, v [size], factor [1]. Bindings: 0 uniform, 1 gradient, 2 factor, 3 p, 4 m, 5 v.
// Source: Loshchilov and Hutter 2019 (arXiv 1711.05101), in the order of torch.optim.AdamW.

struct Params {
  size: u32,
  shrink: f32,
  step_size: f32,
  root_correction2: f32,
  beta1: f32,
  one_minus_beta1: f32,
  beta2: f32,
  one_minus_beta2: f32,
  epsilon: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> gradient: array<f32>;
@group(0) @binding(2) var<storage, read> factor: array<f32>;
@group(0) @binding(3) var<storage, read_write> p: array<f32>;
@group(0) @binding(4) var<storage, read_write> m: array<f32>;
@group(0) @binding(5) var<storage, read_write> v: array<f32>;

override WORKGROUP: u32 = 64;

@compute @workgroup_size(WORKGROUP)
fn adamw(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = id.x + id.y * groups.x * WORKGROUP;
  if (i >= params.size || factor[0] == 0.0) {
    return;
  }
  let g = factor[0] * gradient[i];
  let mean = params.beta1 * m[i] + params.one_minus_beta1 * g;
  let square = params.beta2 * v[i] + params.one_minus_beta2 * g * g;
  m[i] = mean;
  v[i] = square;
  p[i] = params.shrink * p[i] - params.step_size * mean / (sqrt(square) / params.root_correction2 + params.epsilon);
}
