import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { folderSource } from '../../src/io/folder.node.ts';
import { loadTokenizer } from '../../src/io/tokenizer.ts';

const path = (relative: string) => fileURLToPath(new URL(relative, import.meta.url));
const gpt2 = path('../../../shared/data/gpt2-tokenizer');

interface Cases {
  readonly cases: readonly { readonly name: string; readonly text: string; readonly ids: number[] }[];
}

// Reported as skipped where ../shared/data/gpt2-tokenizer is absent. The published `decoded` strings come from a
// tokenizer that cleans up spaces; preimage does not, so what must hold is that every text comes back as it was.
test.skipIf(!existsSync(gpt2))('published GPT-2 strings have the published ids and come back whole', async () => {
  const { cases }: Cases = JSON.parse(await readFile(path('../data/gpt2-tokenizer/cases.json'), 'utf8'));
  const tokenizer = (await loadTokenizer(folderSource(gpt2)))!;
  expect(tokenizer.vocabularySize).toBe(50257);
  expect(cases.length).toBe(34);
  for (const { text, ids } of cases) {
    expect({ text, ids: [...tokenizer.encode(text)] }).toEqual({ text, ids });
    expect(tokenizer.decode(ids)).toBe(text);
  }
});

describe('the default tokenizer', () => {
  const load = async () => (await loadTokenizer(folderSource(path('../../weights'))))!;

  test('every token shows as text', async () => {
    const tokenizer = await load();
    expect(tokenizer.vocabularySize).toBe(4096);
    const tokens = Array.from({ length: 4096 }, (_, id) => tokenizer.token(id));
    expect(tokens[0]).toBe('<|endoftext|>');
    expect(tokens.every((token) => token.length > 0)).toBe(true);
  });

  test('an emoji spread over several tokens streams as one piece', async () => {
    const tokenizer = await load();
    const ids = [...tokenizer.encode('so 😀!')];
    const decoder = tokenizer.streamDecoder();
    const pieces = ids.map((id) => decoder.push(id));
    expect(ids.length).toBeGreaterThanOrEqual(5);
    expect(pieces.filter((piece) => piece !== '').at(-2)).toMatch(/^ ?😀$/);
    expect(pieces.join('') + decoder.end()).toBe('so 😀!');
    expect(pieces.join('')).not.toContain('\uFFFD');
  });
});
