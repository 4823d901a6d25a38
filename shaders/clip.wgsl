// The factor that clips gradients by their global norm, or 0 where they are no numbers.
//
// Method: one thread.
//   1. loss_and_squares holds the loss, then the sum of squares of each gradient. If any of them is infinite or NaN,
//      the factor is 0, which the optimizers take for "change nothing". Comparing a NaN with itself is unreliable in
//      WGSL: the bits are tested.
//   2. norm = sqrt(sum of squares); factor = min(1, max_norm / (norm + 1e-6)), or 1 where max_norm is 0 (no clipping).
//
// Layout: loss_and_squares [1 + P], factor [1]. Bindings: 0 uniform, 1 loss_and_squares, 2 factor.
// Source: torch.nn.utils.clip_grad_norm_.

struct Params {
  size: u32,
  max_norm: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> loss_and_squares: array<f32>;
@group(0) @binding(2) var<storage, read_write> factor: array<f32>;

fn is_finite(x: f32) -> bool {
  return (bitcast<u32>(x) & 0x7f800000u) != 0x7f800000u;
}

@compute @workgroup_size(1)
fn clip_factor() {
  var finite = is_finite(loss_and_squares[0]);
  var total = 0.0;
  for (var i = 1u; i < params.size; i++) {
    finite = finite && is_finite(loss_and_squares[i]);
    total += loss_and_squares[i];
  }
  let clipped = min(1.0, params.max_norm / (sqrt(total) + 1e-6));
  factor[0] = select(0.0, select(1.0, clipped, params.max_norm > 0.0), finite && is_finite(total));
}
