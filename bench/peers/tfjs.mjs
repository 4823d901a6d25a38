// Plain JavaScript, typed by tfjs.d.mts: tfjs is installed only where benchmarks are run.
import { createRequire } from 'node:module';

export async function tfjsWebgpu(requestAdapter) {
  const gpu = { requestAdapter, getPreferredCanvasFormat: () => 'bgra8unorm' };
  Object.defineProperty(globalThis, 'navigator', { value: { gpu, userAgent: 'node' }, configurable: true });
  globalThis.require ??= createRequire(import.meta.url); // its ES modules ask for it under Node
  const tf = await import('@tensorflow/tfjs-core');
  await import('@tensorflow/tfjs-core/dist/register_all_gradients.js');
  const { WebGPUBackend } = await import('@tensorflow/tfjs-backend-webgpu');
  const adapter = await requestAdapter();
  const { limits } = adapter;
  const device = await adapter.requestDevice({
    requiredLimits: {
      maxComputeWorkgroupStorageSize: limits.maxComputeWorkgroupStorageSize,
      maxComputeWorkgroupsPerDimension: limits.maxComputeWorkgroupsPerDimension,
      maxStorageBufferBindingSize: limits.maxStorageBufferBindingSize,
      maxBufferSize: limits.maxBufferSize,
      maxComputeWorkgroupSizeX: limits.maxComputeWorkgroupSizeX,
      maxComputeInvocationsPerWorkgroup: limits.maxComputeInvocationsPerWorkgroup,
    },
  });
  tf.registerBackend('peer', () => new WebGPUBackend(device, adapter.info));
  tf.copyRegisteredKernels('webgpu', 'peer');
  await tf.setBackend('peer');
  await tf.ready();
  return {
    name: `tfjs-webgpu ${tf.version_core}`,
    products({ a, b, m, n, k }, count) {
      const [left, right] = [tf.tensor2d(a, [m, k]), tf.tensor2d(b, [k, n])];
      return async () => {
        let last;
        for (let i = 0; i < count; i++) {
          last?.dispose();
          last = tf.matMul(left, right);
        }
        await last.data();
        last.dispose();
      };
    },
    gradient({ x, w, m, n, k }) {
      const [left, right] = [tf.tensor2d(x, [m, k]), tf.tensor2d(w, [k, n])];
      const gradient = tf.grad((weights) => tf.sum(tf.square(tf.matMul(left, weights))));
      return async () => {
        const dw = gradient(right);
        const values = await dw.data();
        dw.dispose();
        return values;
      };
    },
  };
}
