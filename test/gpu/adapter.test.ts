import { expect, test } from 'vitest';
import { type AdapterKind, describeAdapter } from '../../src/gpu/adapter.ts';

type Names = Partial<GPUAdapterInfo>;

const ADAPTERS: readonly [what: string, kind: AdapterKind, names: Names][] = [
  ['an NVIDIA card', 'hardware', { vendor: 'nvidia', architecture: 'hopper', device: 'NVIDIA H100' }],
  ['an Apple GPU in a browser', 'hardware', { vendor: 'apple', architecture: 'metal-3' }],
  ['a browser that keeps names to itself', 'hardware', {}],
  ['SwiftShader', 'cpu', { vendor: 'google', architecture: 'swiftshader' }],
  ['SwiftShader by its device alone', 'cpu', { device: 'SwiftShader Device (Subzero)' }],
  ['Mesa lavapipe', 'cpu', { vendor: 'mesa', architecture: 'software', device: 'llvmpipe (LLVM 19)' }],
  ['llvmpipe over OpenGL ES', 'cpu', { description: 'OpenGL ES 3.2, llvmpipe' }],
  ['a fallback adapter', 'cpu', { vendor: 'microsoft', architecture: 'warp', isFallbackAdapter: true }],
];

test.each(ADAPTERS)('%s counts as %s', (_, kind, names) => {
  const { name, ...description } = describeAdapter(names, 'because');
  expect(description.kind).toBe(kind);
  expect(description.reason).toBe('because');
  expect(name).not.toBe('');
});

test('the caller knows better', () => {
  const swiftshader = { vendor: 'google', architecture: 'swiftshader' };
  expect(describeAdapter(swiftshader, 'a test', 'hardware').kind).toBe('hardware');
});

test('an adapter is called by the most telling of its names', () => {
  const nameOf = (names: Names) => describeAdapter(names, '').name;
  expect(nameOf({ vendor: 'nvidia', device: 'NVIDIA H100', description: 'driver 570' })).toBe('NVIDIA H100');
  expect(nameOf({ vendor: 'intel', description: 'Iris Xe' })).toBe('Iris Xe');
  expect(nameOf({ vendor: 'apple', architecture: 'metal-3' })).toBe('apple metal-3');
  expect(nameOf({ device: 'swiftshader-device-subzero-' })).toBe('swiftshader-device-subzero');
  expect(nameOf({})).toBe('unnamed adapter');
});
