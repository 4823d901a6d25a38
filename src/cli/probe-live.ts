import type { ProbeOptions } from '../probe/probe.ts';
import { STAGES } from '../probe/report-words.ts';
import type { Stage } from '../probe/solve.ts';
import { columns, statusLine } from './terminal.ts';
import { counted, cut, significant } from './text.ts';

/** Shows on one line how a probe goes on, and ends it when its rows are spent. */
export interface ProbeLive {
  /** To go into the options of `probe`. */
  readonly options: Pick<ProbeOptions, 'onStep' | 'onSolution' | 'onRound' | 'watch'>;
  /** Says what is done before and behind the solves. */
  say(what: string): void;
  clear(): void;
  /** Rows so far. */
  rows(): number;
}

/** Where the present vector of a task stands. */
interface Standing {
  vector: number;
  done: number;
  step: string;
  stage: Stage;
  s: number | undefined;
  residual: number | undefined;
}

const INTERVAL_MS = 80;

/**
 * @param wanted Free vectors of each task.
 * @param budget Rows, and what to do when they are spent.
 */
export function probeLive(
  enabled: boolean,
  wanted: readonly number[],
  budget: { readonly rows: number; spent(): void } | undefined,
): ProbeLive {
  const status = statusLine(enabled);
  const standing = new Map<number, Standing>(); // by task
  let found = 0;
  let before = 0; // rows of rounds that have ended
  let latest: readonly { readonly rows: number }[] = [];
  let shownAt = 0;
  const total = wanted.reduce((sum, count) => sum + count, 0);
  const rows = () => before + latest.reduce((sum, work) => sum + work.rows, 0);
  const update = (task: number, news: Partial<Standing>) => {
    const old = standing.get(task) ?? {
      vector: 0,
      done: 0,
      step: '',
      stage: 'broyden',
      s: undefined,
      residual: undefined,
    };
    standing.set(task, { ...old, ...news });
  };

  function line(): string {
    const all = [...standing.values()];
    const slowest = all.reduce((a, b) => (b.done < a.done ? b : a), all[0]);
    if (!slowest) return '';
    const { vector, step, stage, s, residual } = slowest;
    const what =
      wanted.length === 1
        ? `vector ${vector + 1} of ${total}`
        : `${found} of ${counted(total, 'vector')}, ${all.length} side by side, the last`;
    const path = s === undefined ? '' : `, s ${s.toFixed(3)}`;
    const left = residual === undefined ? '' : `, residual ${significant(residual)}`;
    return `  ${what}: ${step} by ${STAGES[stage]}${path}${left}, ${counted(rows(), 'row')}`;
  }

  return {
    rows,
    clear: status.clear,
    say: (what) => status.show(cut(`  ${what} ...`, columns() - 1)),
    options: {
      onStep(task, vector, step, report) {
        const done = standing.get(task)?.vector === vector ? standing.get(task)!.done : 0;
        update(task, { vector, step, done: report ? done + 1 : done, stage: 'broyden', s: undefined });
        if (report) update(task, { residual: report.residual });
      },
      onSolution(task) {
        found++;
        standing.delete(task);
      },
      watch: (task) => ({
        onStage: (stage) => update(task, { stage, s: undefined }),
        onPoint: ({ s }) => update(task, { s }),
      }),
      onRound(work) {
        if (work !== latest) {
          before = rows();
          latest = work;
        }
        if (budget && rows() >= budget.rows) budget.spent();
        if (performance.now() - shownAt < INTERVAL_MS) return;
        shownAt = performance.now();
        status.show(cut(line(), columns() - 1));
      },
    },
  };
}
