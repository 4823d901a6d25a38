/** Text, markup, or lists of both. Text is escaped where it enters markup; `undefined` is nothing. */
export type Content = Markup | string | number | undefined | readonly Content[];

/** HTML or SVG. Whatever else stands in a page is text and gets escaped, so that no token can become an element. */
export class Markup {
  readonly #source: string;

  /** @param source Trusted: it goes into the page as it is. Use the template tag `markup` for anything else. */
  constructor(source: string) {
    this.#source = source;
  }

  toString(): string {
    return this.#source;
  }
}

/** Template tag: markup`<td>${token}</td>` escapes the token if it is text, and takes markup and lists of it as is. */
export function markup(parts: TemplateStringsArray, ...values: readonly Content[]): Markup {
  return new Markup(parts.reduce((whole, part, i) => whole + rendered(values[i - 1]) + part));
}

function rendered(content: Content): string {
  if (content instanceof Markup) return content.toString();
  if (content === undefined) return '';
  return typeof content === 'object' ? content.map(rendered).join('') : escaped(String(content));
}

const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

/**
 * A text as it may stand in an element or a quoted attribute, of HTML and of XML. Control characters, which XML does
 * not have, are spelled out, and so are those that turn the direction of what follows.
 */
export const escaped = (text: string): string =>
  text
    .replace(/(?![\n\t])[\p{Cc}\p{Cs}\u202a-\u202e\u2066-\u2069\ufffe\uffff]/gu, spelledOut)
    .replace(/[&<>"']/g, (sign) => ENTITIES[sign]);

/** A character by its number: `\x07`, `\u{202e}`. */
export function spelledOut(character: string): string {
  const code = character.codePointAt(0)!;
  return code < 256 ? `\\x${code.toString(16).padStart(2, '0')}` : `\\u{${code.toString(16)}}`;
}
