import { expect, test } from 'vitest';
import { type AdapterKind, describeAdapter } from '../../src/gpu/adapter.ts';

const CORE = ['core-features-and-limits'];

type Names = Partial<Pick<GPUAdapterInfo, 'vendor' | 'architecture' | 'device' | 'description' | 'isFallbackAdapter'>>;

function infoOf(names: Names): GPUAdapterInfo {
  const info = { vendor: '', architecture: '', device: '', description: '', isFallbackAdapter: false, ...names };
  return { subgroupMinSize: 4, subgroupMaxSize: 128, ...info } as GPUAdapterInfo;
}

const ADAPTERS: readonly [what: string, kind: AdapterKind, names: Names, features: readonly string[]][] = [
  ['an NVIDIA card', 'hardware', { vendor: 'nvidia', architecture: 'hopper', device: 'NVIDIA H100' }, CORE],
  ['an Apple GPU in a browser', 'hardware', { vendor: 'apple', architecture: 'metal-3' }, CORE],
  ['a browser that keeps names to itself', 'hardware', {}, CORE],
  ['SwiftShader', 'cpu', { vendor: 'google', architecture: 'swiftshader' }, CORE],
  ['SwiftShader by its device alone', 'cpu', { device: 'SwiftShader Device (Subzero)' }, CORE],
  ['Mesa lavapipe', 'cpu', { vendor: 'mesa', architecture: 'software', device: 'llvmpipe (LLVM 19)' }, CORE],
  ['llvmpipe over OpenGL ES', 'cpu', { description: 'OpenGL ES 3.2, llvmpipe' }, []],
  ['a nameless adapter without the core features', 'cpu', {}, []],
  ['a fallback adapter', 'cpu', { vendor: 'microsoft', architecture: 'warp', isFallbackAdapter: true }, CORE],
];

test.each(ADAPTERS)('%s counts as %s', (_, kind, names, features) => {
  const { name, ...description } = describeAdapter(infoOf(names), new Set(features), 'because');
  expect(description.kind).toBe(kind);
  expect(description.reason).toBe('because');
  expect(name).not.toBe('');
});

test('the caller knows better', () => {
  const swiftshader = infoOf({ vendor: 'google', architecture: 'swiftshader' });
  expect(describeAdapter(swiftshader, new Set(), 'a test', 'hardware').kind).toBe('hardware');
});

test('an adapter is called by the most telling of its names', () => {
  const nameOf = (names: Names) => describeAdapter(infoOf(names), new Set(CORE), '').name;
  expect(nameOf({ vendor: 'nvidia', device: 'NVIDIA H100', description: 'driver 570' })).toBe('NVIDIA H100');
  expect(nameOf({ vendor: 'intel', description: 'Iris Xe' })).toBe('Iris Xe');
  expect(nameOf({ vendor: 'apple', architecture: 'metal-3' })).toBe('apple metal-3');
  expect(nameOf({})).toBe('unnamed adapter');
});
