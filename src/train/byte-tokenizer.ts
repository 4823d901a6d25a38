/**
 * The `tokenizer.json` of a model that reads bytes: 256 tokens, the id of each its byte. Byte-level tokenizers spell a
 * byte as a visible character: itself where it is one, else the next free one from U+0100 on.
 * Source: bytes_to_unicode in https://github.com/openai/gpt-2/blob/master/src/encoder.py
 */
export function byteTokenizerJson(): object {
  const isVisible = (byte: number) =>
    (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || (byte >= 0xae && byte <= 0xff);
  const vocab: Record<string, number> = {};
  let next = 0x100;
  for (let byte = 0; byte < 256; byte++) vocab[String.fromCodePoint(isVisible(byte) ? byte : next++)] = byte;
  const byteLevel = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: false };
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: [],
    normalizer: null,
    pre_tokenizer: byteLevel,
    post_processor: null,
    decoder: byteLevel,
    model: { type: 'BPE', dropout: null, unk_token: null, fuse_unk: false, byte_fallback: false, vocab, merges: [] },
  };
}
