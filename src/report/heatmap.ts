import { tickText } from './axis.ts';
import { RAMP } from './colours.ts';
import { type Content, type Markup, markup } from './markup.ts';
import { fixed } from './plot.ts';
import { cut, significant } from './text.ts';

/** A matrix of values as a picture. */
export interface Heatmap {
  /** What the picture shows, in a sentence: read aloud, and shown on hovering. */
  readonly title: string;
  /** Names of rows and columns; a name of a column is shown where there is room, else its number. */
  readonly rows: readonly string[];
  readonly columns: readonly string[];
  /** [row][column]; what is missing is left blank. */
  readonly values: readonly (readonly (number | undefined)[])[];
  /** What the values are, for the legend. */
  readonly legend: string;
  /** Logarithmic colours; what is not positive takes the lowest. */
  readonly log?: boolean;
  /** What hovering over a cell shows. */
  readonly label?: (row: number, column: number) => string;
  /** Cells to point out, and what for. */
  readonly marks?: readonly HeatmapMark[];
}

/** Cells that are pointed out. */
export interface HeatmapMark {
  readonly cells: readonly { readonly row: number; readonly column: number }[];
  readonly shape: 'ring' | 'cross';
  readonly meaning: string;
}

/** Columns side by side; more go on below. */
const BAND = 64;
/** Up to here columns are wide enough for their names. */
const NAMED = 40;
const CELL = 18;
const NAME_CHARACTERS = 12;
const CHARACTER = 6.7;
const SWATCH = 22;

/** Draws a matrix: low values dark on light ground and bright on dark ground, so that they stand out on either. */
export function heatmap({ title, rows, columns, values, legend, log = false, label, marks = [] }: Heatmap): Markup {
  const isNamed = columns.length <= NAMED;
  const cell = isNamed ? 16 : 9.5;
  const left = 16 + CHARACTER * Math.max(0, ...rows.map((name) => name.length));
  const names = columns.map((name) => cut(name, NAME_CHARACTERS));
  const head = isNamed ? 10 + CHARACTER * Math.max(2, ...names.map((name) => Array.from(name).length)) : 18;
  const band = head + CELL * rows.length + 12;
  const bands = Math.max(Math.ceil(columns.length / BAND), 1);
  const shown = values.flat().filter((value) => value !== undefined && Number.isFinite(value)) as number[];
  const colour = scaleOf(shown, log);
  const caption = log ? `${legend} (${colour.low === undefined ? 'none above 0' : 'logarithmic'})` : legend;
  const words = [caption, ...marks.map(({ meaning }) => `     ${meaning}`)].map((text) => 24 + 6.4 * text.length);
  const width = Math.max(left + cell * Math.min(columns.length, BAND) + 8, 24 + SWATCH * RAMP.length, ...words);
  const legendAt = band * bands + 14;
  const height = legendAt + 46 + 20 * marks.length;

  const x = (column: number) => fixed(left + cell * (column % BAND));
  const y = (row: number, column: number) => fixed(band * Math.floor(column / BAND) + head + CELL * row);
  const box = (row: number, column: number) =>
    markup`x="${x(column)}" y="${y(row, column)}" width="${fixed(cell - 1)}" height="${CELL - 1}"`;

  const columnNames = names.map((name, column) => {
    const [at, base] = [fixed(x(column) + cell / 2), fixed(y(0, column) - 5)];
    if (isNamed) return markup`<text class="mono" transform="translate(${at + 4},${base})rotate(-90)">${name}</text>\n`;
    return column % 8 === 0 ? markup`<text x="${x(column)}" y="${base}">${column}</text>\n` : [];
  });
  const rowNames = Array.from({ length: bands }, (_, i) =>
    rows.map((name, row) => {
      const base = y(row, i * BAND) + CELL - 5;
      return markup`<text x="${fixed(left - 6)}" y="${fixed(base)}" text-anchor="end">${name}</text>\n`;
    }),
  );
  const cells = rows.map((_, row) =>
    columns.map((_, column) => {
      const value = values[row]?.[column];
      const hover = label && markup`<title>${label(row, column)}</title>`;
      if (value === undefined || Number.isNaN(value))
        return markup`<rect class="blank" fill="none" stroke="#ccc" ${box(row, column)}>${hover}</rect>\n`;
      const step = colour.step(value);
      return markup`<rect class="r${step}" fill="${RAMP[step]}" ${box(row, column)}>${hover}</rect>\n`;
    }),
  );
  const marked = marks.map(({ cells, shape }) =>
    cells.map(({ row, column }) => mark(shape, x(column), y(row, column), cell - 1, CELL - 1)),
  );
  const ramp = colour.low === undefined ? [] : RAMP;
  const steps = ramp.map(
    (fill, i) =>
      markup`<rect class="r${i}" fill="${fill}" x="${12 + SWATCH * i}" y="${legendAt + 8}" width="${SWATCH}" height="12"/>`,
  );
  const edge = (value: number | undefined, at: number, anchor: string) =>
    value === undefined
      ? []
      : markup`<text x="${12 + SWATCH * at}" y="${legendAt + 34}" text-anchor="${anchor}">${edgeText(value)}</text>`;
  const meanings = marks.map(({ shape, meaning }, i) => {
    const base = legendAt + 46 + 20 * i;
    return markup`${mark(shape, 12, base - 6, 15, 17)}<text x="34" y="${base + 7}">${meaning}</text>\n`;
  });
  return markup`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${fixed(width)} ${fixed(height)}" width="${fixed(width)}" height="${fixed(height)}" role="img" aria-label="${title}" font-family="system-ui, sans-serif" font-size="12" fill="#444">
<title>${title}</title>
<rect class="ground" width="${fixed(width)}" height="${fixed(height)}" fill="#fff"/>
${columnNames}${rowNames}${cells}${marked}<text x="12" y="${legendAt}">${caption}</text>
${steps}${edge(colour.low, 0, 'start')}${edge(colour.middle, RAMP.length / 2, 'middle')}${edge(colour.high, RAMP.length, 'end')}
${meanings}</svg>
`;
}

const edgeText = (value: number): string => (Number.isInteger(value) ? tickText(value) : significant(value));

interface ColourScale {
  readonly low?: number;
  readonly middle?: number;
  readonly high?: number;
  step(value: number): number;
}

function scaleOf(values: readonly number[], log: boolean): ColourScale {
  const wide = log ? values.filter((value) => value > 0) : values;
  if (wide.length === 0) return { step: () => 0 };
  const low = wide.reduce((a, b) => Math.min(a, b));
  const high = wide.reduce((a, b) => Math.max(a, b));
  const share = log
    ? (value: number) => (value > low ? Math.log(value / low) / Math.log(high / low) : 0)
    : (value: number) => (value > low ? (value - low) / (high - low) : 0);
  const middle = log ? Math.sqrt(low) * Math.sqrt(high) : low + (high - low) / 2;
  const step = (value: number) => Math.min(Math.floor(share(value) * RAMP.length), RAMP.length - 1);
  return low === high ? { low, step } : { low, middle, high, step };
}

function mark(shape: HeatmapMark['shape'], x: number, y: number, width: number, height: number): Content {
  if (shape === 'ring')
    return markup`<rect class="ring" fill="none" stroke="#000" stroke-width="2.5" x="${fixed(x - 1)}" y="${fixed(y - 1)}" width="${fixed(width + 2)}" height="${height + 2}"/>\n`;
  const d = `M${fixed(x + 2)},${fixed(y + 3)}l${fixed(width - 4)},${height - 6}m0,${6 - height}l${fixed(4 - width)},${height - 6}`;
  return markup`<path class="halo" fill="none" stroke="#fff" stroke-width="4.5" d="${d}"/><path class="cross" fill="none" stroke="#c00" stroke-width="2" d="${d}"/>\n`;
}
