/** A stretch of a text, and whether the other text has it too. */
export interface Stretch {
  readonly text: string;
  readonly isCommon: boolean;
}

/** Words and other signs, each with the blanks before it. */
const WORDS = /\s*(?:[\p{L}\p{N}\p{M}_]+|[^\s\p{L}\p{N}\p{M}_])|\s+$/gu;

/** Beyond so many pairs of words, and below this share of common ones, texts differ as a whole between their ends. */
const MOST_PAIRS = 1e6;
const LEAST_COMMON = 0.5;

/** Two texts word by word: the stretches of each, common ones in the same order in both. */
export function differences(a: string, b: string): [Stretch[], Stretch[]] {
  const [own, other] = [a, b].map((text): string[] => text.match(WORDS) ?? []);
  const room = Math.min(own.length, other.length);
  let start = 0;
  while (start < room && own[start] === other[start]) start++;
  let end = 0;
  while (end < room - start && own[own.length - 1 - end] === other[other.length - 1 - end]) end++;
  const [inOwn, inOther] = commonWords(own.slice(start, own.length - end), other.slice(start, other.length - end));
  const mark = (words: readonly string[], common: ReadonlySet<number>) =>
    stretches(words, (i) => i < start || i >= words.length - end || common.has(i - start));
  return [mark(own, inOwn), mark(other, inOther)];
}

/** Places of a longest common subsequence in both lists, where it makes up enough of them. */
function commonWords(a: readonly string[], b: readonly string[]): [Set<number>, Set<number>] {
  const places: [Set<number>, Set<number>] = [new Set(), new Set()];
  if (a.length * b.length > MOST_PAIRS) return places;
  const width = b.length + 1;
  const lengths = new Uint16Array((a.length + 1) * width); // (i, j): of what begins at a[i] and b[j]
  for (let i = a.length - 1; i >= 0; i--) {
    for (let j = b.length - 1; j >= 0; j--) {
      const at = i * width + j;
      lengths[at] = a[i] === b[j] ? lengths[at + width + 1] + 1 : Math.max(lengths[at + width], lengths[at + 1]);
    }
  }
  if (lengths[0] < LEAST_COMMON * Math.max(a.length, b.length)) return places;
  for (let i = 0, j = 0; i < a.length && j < b.length; ) {
    if (a[i] === b[j]) {
      places[0].add(i++);
      places[1].add(j++);
    } else if (lengths[(i + 1) * width + j] >= lengths[i * width + j + 1]) i++;
    else j++;
  }
  return places;
}

function stretches(words: readonly string[], isCommon: (word: number) => boolean): Stretch[] {
  const all: { text: string; isCommon: boolean }[] = [];
  for (const [i, text] of words.entries()) {
    const last = all.at(-1);
    if (last?.isCommon === isCommon(i)) last.text += text;
    else all.push({ text, isCommon: isCommon(i) });
  }
  return all;
}
