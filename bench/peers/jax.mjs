// Plain JavaScript, typed by jax.d.mts: jax-js is installed only where benchmarks are run.
export async function jaxJs(requestAdapter) {
  Object.defineProperty(globalThis, 'navigator', {
    value: { gpu: { requestAdapter, getPreferredCanvasFormat: () => 'bgra8unorm' }, userAgent: 'node' },
    configurable: true,
  });
  const { defaultDevice, grad, init, jit, numpy: np } = await import('@jax-js/jax');
  const devices = await init('webgpu');
  if (!devices.includes('webgpu')) throw new Error('jax-js finds no WebGPU here');
  defaultDevice('webgpu');
  return {
    name: 'jax-js 0.1.25',
    gradient({ x, w, m, n, k }) {
      const [left, right] = [np.array(x).reshape([m, k]), np.array(w).reshape([k, n])];
      const gradient = jit(grad((weights, rows) => np.sum(np.square(np.matmul(rows, weights)))));
      return () => gradient(right.ref, left.ref).data();
    },
  };
}
