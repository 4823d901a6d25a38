import { commonPrefix } from './prompt-set.ts';

/** Prompts as the rows of one pass: what several begin with in common is there once. */
export interface Forest {
  /** [rows] */
  readonly ids: Uint32Array;
  readonly positions: Uint32Array;
  /** [rows]: a prompt that each row belongs to. */
  readonly slots: Uint32Array;
  /** [entries, 2] as (row, slot, position): each row once for each prompt that it belongs to. */
  readonly members: readonly (readonly [row: number, slot: number, position: number])[];
  /** [prompts]: the row of each one's last token. */
  readonly last: Uint32Array;
  /** Tokens of the longest. */
  readonly longest: number;
}

/** The forest of prompts that are sorted by their ids. */
export function forestOf(prompts: readonly Uint32Array[]): Forest {
  const ids: number[] = [];
  const positions: number[] = [];
  const slots: number[] = [];
  const members: [number, number, number][] = [];
  const last: number[] = [];
  let path: number[] = []; // the rows of the prompt at hand
  prompts.forEach((prompt, slot) => {
    path = path.slice(0, slot > 0 ? commonPrefix(prompts[slot - 1], prompt) : 0);
    for (let position = path.length; position < prompt.length; position++) {
      path.push(ids.length);
      ids.push(prompt[position]);
      positions.push(position);
      slots.push(slot);
    }
    path.forEach((row, position) => void members.push([row, slot, position]));
    last.push(path[path.length - 1]);
  });
  const [u32Ids, u32Positions, u32Slots, u32Last] = [ids, positions, slots, last].map((list) => Uint32Array.from(list));
  const longest = prompts.reduce((most, prompt) => Math.max(most, prompt.length), 0);
  return { ids: u32Ids, positions: u32Positions, slots: u32Slots, members, last: u32Last, longest };
}

/** How large a batch may be. */
export interface BatchLimits {
  readonly rows: number;
  /** Prompts times the tokens of the longest: the places of its keys and values. */
  readonly places: number;
}

/** Cuts a run of sorted prompts into batches within limits, none empty: first and count of each. */
export function batchesOf(prompts: readonly Uint32Array[], limits: BatchLimits): { first: number; count: number }[] {
  const batches: { first: number; count: number }[] = [];
  let [first, rows, longest] = [0, 0, 0];
  prompts.forEach((prompt, i) => {
    const added = prompt.length - (i > first ? commonPrefix(prompts[i - 1], prompt) : 0);
    const tallest = Math.max(longest, prompt.length);
    if (i > first && (rows + added > limits.rows || (i - first + 1) * tallest > limits.places)) {
      batches.push({ first, count: i - first });
      [first, rows, longest] = [i, prompt.length, prompt.length];
    } else {
      [rows, longest] = [rows + added, tallest];
    }
  });
  if (prompts.length > 0) batches.push({ first, count: prompts.length - first });
  return batches;
}
