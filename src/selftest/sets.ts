/** One set of rows of a derivative that holds several; nothing of one that is zero. */
export type OneSet = <T extends Float32Array | undefined>(derivative: T) => T;

/** What a function gives for each of several sets of rows, one after another, as the operations take them (see `Op`). */
export function eachSet(sets: number, f: (one: OneSet) => Float64Array): Float64Array {
  const parts = Array.from({ length: sets }, (_, set) =>
    f(((d) => d?.subarray((set * d.length) / sets, ((set + 1) * d.length) / sets)) as OneSet),
  );
  return Float64Array.from(parts.flatMap((part) => [...part]));
}

/** How a case's name tells its sets. */
export const nameOfSets = (sets: number): string => (sets === 1 ? '' : `, ${sets} sets`);
