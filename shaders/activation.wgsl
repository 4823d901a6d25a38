// Activation: y = f(x), element by element (main), and its derivative along d, a tangent or a cotangent: y = f'(x) d
// (slope).
//
// Method
//   1. One thread per element, all flat. d may hold several sets, each at the same x.
//   2. All are written from exp() alone: tanh() of some adapters is off by 5e-5 near 0, of others NaN beyond 44.
//   3. At a kink the slope is that of the left, as in PyTorch.
//
// Layout: main: x, y [size]; slope: x [x_size], d, y [size], size a multiple of x_size.
// Bindings: 0 uniform, 1 x, 2 d, 3 y.
// Sources: Hendrycks & Gimpel 2016 (GELU, its tanh form), Numerical Recipes 6.2.2 (erfc, relative error below 1.2e-7).

struct Params {
  size: u32,
  x_size: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> d: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

override WORKGROUP: u32 = 64;
// Index into the list of src/ops/activation.ts.
override ACTIVATION: u32 = 0;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = id.x + id.y * groups.x * WORKGROUP;
  if (i < params.size) {
    y[i] = activate(x[i]);
  }
}

@compute @workgroup_size(WORKGROUP)
fn slope(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = id.x + id.y * groups.x * WORKGROUP;
  if (i < params.size) {
    y[i] = slope_at(x[i % params.x_size]) * d[i];
  }
}

// --- activate: the same text stands in matmul.wgsl (a test compares them) ---
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

fn slope_at(v: f32) -> f32 {
  switch ACTIVATION {
    // gelu_new and gelu_fast: v s(u) has the slope s(u) + v s(u) s(-u) u', whose polynomials must not overflow
    case 1u, 3u: {
      let w = clamp(v, -15.0, 15.0);
      let u = 1.5957691216 * (w + 0.044715 * w * w * w);
      return sigmoid(u) * (1.0 + w * sigmoid(-u) * 1.5957691216 * (1.0 + 0.134145 * w * w));
    }
    // gelu: Phi(v) + v phi(v)
    case 2u: {
      let w = clamp(v, -13.0, 13.0);
      let tail = 0.5 * erfc_of_positive(abs(w) * 0.70710678119);
      return select(tail, 1.0 - tail, w > 0.0) + w * 0.39894228040 * exp(-0.5 * w * w);
    }
    case 4u: { return select(0.0, 1.0, v > 0.0); }
    case 5u: { return select(0.01, 1.0, v > 0.0); }
    case 6u: {
      let w = clamp(v, -80.0, 80.0);
      return sigmoid(w) * (1.0 + w * sigmoid(-w));
    }
    // tanh: 1 - tanh(v)^2, which would cancel
    case 7u: { return 4.0 * sigmoid(2.0 * v) * sigmoid(-2.0 * v); }
    default: { return 1.0; }
  }
}
