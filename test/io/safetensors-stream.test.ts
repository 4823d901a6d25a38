import { expect, test } from 'vitest';
import { FormatError } from '../../src/errors.ts';
import { encodeSafetensors, streamSafetensors, type TensorData } from '../../src/io/safetensors-writer.ts';

async function written({ sizeBytes, bytes }: ReturnType<typeof streamSafetensors>): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  for await (const part of bytes()) parts.push(part);
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  expect(whole.length).toBe(sizeBytes);
  return whole;
}

const numbers = (count: number) => Float32Array.from({ length: count }, (_, i) => i / 3);

test('a stream is the file that is written at once, whatever the pieces', async () => {
  const data = { a: numbers(12), b: numbers(5), c: Uint16Array.of(1, 2, 3), d: new Float32Array(0) };
  const at = (name: keyof typeof data, dtype: 'F32' | 'F16' | 'U16', shape: number[]) => ({ name, dtype, shape });
  const tensors = [at('a', 'F32', [3, 4]), at('b', 'F16', [5]), at('c', 'U16', [3]), at('d', 'F32', [0, 2])];
  const metadata = { format: 'pt', note: 'é' };
  const whole = encodeSafetensors(
    tensors.map((tensor) => ({ ...tensor, data: data[tensor.name] })),
    metadata,
  );
  async function* later(name: keyof typeof data) {
    for (let i = 0; i < data[name].length; i += 2) yield data[name].subarray(i, i + 2);
  }
  const stream = streamSafetensors(
    tensors.map((tensor) => ({ ...tensor, pieces: () => later(tensor.name) })),
    metadata,
  );
  expect(await written(stream)).toEqual(whole);
});

test('tensors are asked for one after the other, each when its turn comes', async () => {
  const asked: string[] = [];
  const pieces = (name: string) => () => {
    asked.push(name);
    return [numbers(2)];
  };
  const tensors = ['b', 'a'].map((name) => ({ name, dtype: 'F32', shape: [2], pieces: pieces(name) }) as const);
  const seen: string[] = [];
  for await (const _ of streamSafetensors(tensors).bytes()) seen.push(asked.join());
  expect(seen).toEqual(['', 'a', 'a,b']);
});

test.each<[string, TensorData[], RegExp]>([
  ['too little', [numbers(1), numbers(2)], /takes 16 bytes, but its data has 12/],
  ['too much', [numbers(3), numbers(2)], /takes 16 bytes, but its data has 20/],
  ['another kind', [Int32Array.of(1, 2, 3, 4)], /is to be F32, but its data is a Int32Array/],
])('%s of a tensor is refused', async (_, pieces, message) => {
  const stream = streamSafetensors([{ name: 'x', dtype: 'F32', shape: [4], pieces: () => pieces }]);
  await expect(written(stream)).rejects.toThrow(FormatError);
  await expect(written(stream)).rejects.toThrow(message);
});
