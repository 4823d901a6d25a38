import type { Cause, EqualRows, LocalAttention } from './causes.ts';
import type { PromptSet } from './prompt-set.ts';
import type { FoundPair } from './result.ts';

/**
 * The causes that together make the states of two prompts equal at a layer, none of them to spare; what is not analytic,
 * as a possible cause, where no others do; empty where nothing found in the weights explains it.
 *
 * The argument is exact. Inputs are equal where tokens and positions are, up to equal rows. A block makes of a row a
 * function of this row and of the shares that the rows it sees have in what it sees: so equal ones, in any order and any
 * number in proportion, give equal rows. Where attention is constant, it is a function of the row alone.
 * @param causes Of `findCauses`.
 * @param a Token ids of a prompt the model can take.
 * @param layer 1 to L.
 */
export function explainCollision(causes: readonly Cause[], a: Uint32Array, b: Uint32Array, layer: number): Cause[] {
  const local = causes.find((cause) => cause.kind === 'local attention');
  const collide = (given: readonly Cause[], windows = local?.windows) => statesAgree(given, a, b, layer, windows);
  const relevant = causes.filter((cause) => bearsOn(cause, a, b));
  const enough = [[], ...relevant.map((cause) => [cause]), relevant].find((given) => collide(given));
  if (!enough) return causes.filter(({ kind }) => kind === 'not analytic');
  let needed: Cause[] = enough;
  for (const cause of enough) {
    const others = needed.filter((other) => other !== cause);
    if (collide(others)) needed = others;
  }
  // Windows hold whether or not they are named: to see less is not always to see more alike.
  return local && !collide(needed, []) ? [...needed, local] : needed;
}

/** The token ids of the two that were found close. @param set What was compared. */
export function idsOf(found: FoundPair, { prompts }: PromptSet): readonly [Uint32Array, Uint32Array] {
  if ('ranks' in found) {
    const [a, b] = found.ranks;
    return [prompts[a].ids, prompts[b].ids];
  }
  const { ids } = prompts.find(({ line }) => line === found.line)!;
  const [a, b] = found.tokens;
  return [Uint32Array.of(...ids, a), Uint32Array.of(...ids, b)];
}

function bearsOn(cause: Cause, a: Uint32Array, b: Uint32Array): boolean {
  if (cause.kind === 'equal token rows') {
    const used = new Set([...a, ...b]);
    return cause.rows.filter((id) => used.has(id)).length > 1;
  }
  if (cause.kind === 'equal position rows') return cause.rows[1] < Math.max(a.length, b.length);
  return cause.kind === 'constant attention';
}

/** Whether causes imply that the last states of two prompts are equal: rows are sorted into classes, ever finer. */
function statesAgree(
  causes: readonly Cause[],
  a: Uint32Array,
  b: Uint32Array,
  layer: number,
  windows: LocalAttention['windows'] = [],
): boolean {
  const [token, position] = (['equal token rows', 'equal position rows'] as const).map((kind) => firstOf(causes, kind));
  const constant = new Set(causes.flatMap((cause) => (cause.kind === 'constant attention' ? cause.blocks : [])));
  const [lastOfA, lastOfB] = [a.length - 1, a.length + b.length - 1];
  const begin = (row: number) => (row < a.length ? 0 : a.length); // rows of A, then those of B
  let classes = numbered([...a, ...b].map((id, row) => `${token(id)} ${position(row - begin(row))}`));
  const stable = new Set<number | undefined>(); // windows that tell no more rows apart
  for (let block = 0; block < layer && classes[lastOfA] === classes[lastOfB]; block++) {
    const window = windows[block];
    if (constant.has(block) || stable.has(window)) continue;
    const before = classes;
    const seenFrom = (row: number) => Math.max(begin(row), row + 1 - (window ?? row + 1));
    classes = numbered(before.map((own, row) => `${own}: ${sharesOf(before.slice(seenFrom(row), row + 1))}`));
    if (Math.max(...classes) > Math.max(...before)) stable.clear();
    else stable.add(window);
  }
  return classes[lastOfA] === classes[lastOfB];
}

/** The first of the rows that are equal to one. */
function firstOf(causes: readonly Cause[], kind: EqualRows['kind']): (row: number) => number {
  const groups = causes.flatMap((cause) => (cause.kind === kind ? [cause.rows] : []));
  const first = new Map(groups.flatMap((rows) => rows.map((row) => [row, rows[0]] as const)));
  return (row) => first.get(row) ?? row;
}

/** A number for each text, equal for equal ones, from 0. */
function numbered(texts: readonly string[]): number[] {
  const numbers = new Map<string, number>();
  return texts.map((text) => {
    const number = numbers.get(text) ?? numbers.size;
    numbers.set(text, number);
    return number;
  });
}

/** How often each class occurs, in lowest terms. */
function sharesOf(classes: readonly number[]): string {
  const counts = new Map<number, number>();
  for (const one of classes) counts.set(one, (counts.get(one) ?? 0) + 1);
  const divisor = [...counts.values()].reduce(greatestCommonDivisor);
  return [...counts]
    .sort(([x], [y]) => x - y)
    .map(([one, count]) => `${one} x ${count / divisor}`)
    .join(', ');
}

const greatestCommonDivisor = (x: number, y: number): number => (y === 0 ? x : greatestCommonDivisor(y, x % y));
