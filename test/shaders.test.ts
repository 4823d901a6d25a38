/// <reference types="vite/types/importMeta.d.ts" />
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { testContext } from '#context';
import { type Context, createContext } from '../src/gpu/context.ts';
import { formatCompilation, type Kernel, kernelCode, storageBindings } from '../src/gpu/shader.ts';
import { kernelCases } from '../src/selftest/cases.ts';

const files = import.meta.glob<string>('../shaders/*.wgsl', { query: '?raw', eager: true, import: 'default' });
const shaders = Object.entries(files).map(([path, code]) => [path.replace('../', ''), code] as const);

let context: Context;
beforeAll(async () => {
  context = await testContext();
});
afterAll(() => context.destroy());

describe.each(shaders)('%s', (file, code) => {
  test('is valid WGSL as it stands', async () => {
    const { messages } = await context.device.createShaderModule({ code }).getCompilationInfo();
    expect(formatCompilation(file, code, messages)).toBe('');
  });

  test('begins by saying what it computes and what its bindings are', () => {
    const [head = ''] = code.match(/^(\/\/.*\n)+/) ?? [];
    expect(head).toMatch(/^\/\/ \w+/);
    for (const part of ['Method', 'Layout: ', 'Bindings: 0 uniform']) {
      if (part !== 'Method' || !head.includes('Ways')) expect(head).toContain(part);
    }
  });

  test('is tidy: no tabs, no trailing blanks, at most 120 columns, one newline at the end', () => {
    code.split('\n').forEach((line, i) => {
      expect(line, `${file}:${i + 1}`).toMatch(/^[^\t]{0,120}$/);
      expect(line, `${file}:${i + 1}`).not.toMatch(/ $/);
    });
    expect(code).toMatch(/[^\n]\n$/);
  });
});

test('every entry point of every shader is run by some case of the selftest', async () => {
  const run = new Set<string>();
  for (const kind of ['cpu', 'hardware'] as const) {
    const on = await createContext({ device: context.device, kind });
    // Nothing is compiled or computed here: only what would be is noted.
    vi.spyOn(on.recorder, 'dispatch').mockImplementation(() => {});
    vi.spyOn(on.pipelines, 'get').mockImplementation((kernel: Kernel) => {
      run.add(`${kernel.shader.file} ${kernel.entry}`);
      const bindings = Math.max(...storageBindings(kernelCode(kernel)).keys());
      return { kernel, label: kernel.entry, bindings, id: 0, gpu: {}, layout: {} } as ReturnType<
        Context['pipelines']['get']
      >;
    });
    for (const kernelCase of kernelCases()) on.scope(() => void kernelCase.run(on));
    on.destroy();
  }
  const entries = shaders.flatMap(([file, code]) =>
    [...code.matchAll(/@compute[^{]*?fn\s+(\w+)/g)].map(([, entry]) => `${file} ${entry}`),
  );
  expect(entries.length).toBeGreaterThan(shaders.length);
  expect([...run].sort()).toEqual(entries.sort());
});

test('activations are the same text wherever they stand', () => {
  const texts = shaders.flatMap(
    ([, code]) => code.match(/(?<=^\/\/ --- activate: .*\n)[\s\S]*(?=^\/\/ --- end of activate)/m) ?? [],
  );
  expect(texts).toHaveLength(2);
  expect(texts[0]).toBe(texts[1]);
});

test('functions of one signature are the same text wherever they stand: WGSL has no include', () => {
  const texts = new Map<string, Set<string>>();
  for (const [, code] of shaders) {
    for (const [text, signature] of code.matchAll(/(?<!@compute.*\n)^(fn \w+\(.*\) -> .*) \{\n[\s\S]*?^\}/gm)) {
      texts.set(signature, (texts.get(signature) ?? new Set()).add(text));
    }
  }
  expect(texts.size).toBeGreaterThan(20);
  for (const [signature, bodies] of texts) expect(bodies.size, signature).toBe(1);
});
