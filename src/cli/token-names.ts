import type { Tokenizer } from '../io/tokenizer.ts';
import { quoted } from './text.ts';

/** How tokens are called: their text in quotes, or `#17` where there is none or its bytes are no whole characters. */
export function tokenNames(tokenizer: Pick<Tokenizer, 'token'> | undefined): (token: number) => string {
  return (token) => {
    const text = tokenizer?.token(token);
    return text === undefined || text.includes('\ufffd') ? `#${token}` : quoted(text, true);
  };
}
