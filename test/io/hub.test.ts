import { describe, expect, test } from 'vitest';
import { SourceError } from '../../src/errors.ts';
import { type HubOptions, hubSource } from '../../src/io/hub.ts';

async function request(id: string, options: HubOptions = {}): Promise<{ url: string; headers: Headers }> {
  let seen: { url: string; headers: Headers } | undefined;
  const fetch = async (url: unknown, init?: RequestInit) => {
    seen = { url: String(url), headers: new Headers(init?.headers) };
    return new Response(null, { status: 404 });
  };
  await hubSource(id, { ...options, fetch }).open('config.json');
  return seen!;
}

test('files lie below the resolved revision', async () => {
  expect((await request('gpt2')).url).toBe('https://huggingface.co/gpt2/resolve/main/config.json');
  const options = {
    revision: 'refs/pr/1',
    endpoint: 'https://mirror.example/hub/',
    token: 'hf_abc',
    headers: { x: 'y' },
  };
  const { url, headers } = await request('openai-community/gpt2', options);
  expect(url).toBe('https://mirror.example/hub/openai-community/gpt2/resolve/refs%2Fpr%2F1/config.json');
  expect([...headers]).toEqual(
    expect.arrayContaining([
      ['authorization', 'Bearer hf_abc'],
      ['x', 'y'],
    ]),
  );
  expect((await request('gpt2')).headers.has('authorization')).toBe(false);
});

describe('refused', () => {
  test.each([
    '',
    '/',
    'a/',
    '/a',
    'a/b/c',
    '..',
    '../gpt2',
    'a/..',
    'a b',
    'a?b',
    'a#b',
    'a%2fb',
    '-a',
    'a.',
    'a--b',
    'a\\b',
    'https://x',
  ])('the id %j', (id) => {
    expect(() => hubSource(id)).toThrow(SourceError);
  });
  test.each(['', '.', '..'])('the revision %j', (revision) => {
    expect(() => hubSource('gpt2', { revision })).toThrow(SourceError);
  });
  test('a token with a newline, without showing it', () => {
    expect(() => hubSource('gpt2', { token: 'secret\n' })).toThrow(SourceError);
    expect(() => hubSource('gpt2', { token: 'secret\n' })).not.toThrow(/secret/);
    expect(() => hubSource('gpt2', { token: '' })).toThrow(/HF_TOKEN/);
  });
});
