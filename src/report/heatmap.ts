import { tickText } from './axis.ts';
import { RAMP } from './colours.ts';
import { type Content, type Markup, markup } from './markup.ts';
import { fixed, hover, label, svg, textWidth } from './svg.ts';
import { cut, significant } from './text.ts';

/** A matrix of values as a picture. */
export interface Heatmap {
  /** What it shows, in a sentence: read aloud, and shown on hovering. */
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
const NAME_CHARACTERS = 12;
/** Of names in type of one width. */
const CHARACTER = 7.9;
const CELL_HEIGHT = 18;
const SWATCH = 22;
const MARK_ROW = 20;

/** Draws a matrix: low values dark on light ground and bright on dark ground, so that they stand out on either. */
export function heatmap(map: Heatmap): Markup {
  const { title, rows, columns, values, legend, log = false, marks = [] } = map;
  const layout = layoutOf(rows, columns);
  const colour = scaleOf(values.flat().filter(Number.isFinite) as number[], log);
  const scale = colour.low === undefined ? 'none above 0' : 'logarithmic';
  const caption = log ? `${legend} (${scale})` : legend;
  const width = Math.max(
    layout.width,
    24 + SWATCH * RAMP.length,
    24 + textWidth(caption),
    ...marks.map(({ meaning }) => 46 + textWidth(meaning)),
  );
  const top = layout.height + 14;
  const under = top + (colour.low === undefined ? 8 : 40);
  return svg(title, width, under + 6 + MARK_ROW * marks.length, 'map', [
    columnNames(columns, layout),
    rowNames(rows, layout),
    rows.map((_, row) => columns.map((_, column) => cell(map, layout, colour, row, column))),
    marks.map(({ cells, shape }) =>
      cells.map(({ row, column }) => mark(shape, layout.x(column), layout.y(row, column), layout.cell - 1)),
    ),
    label(12, top, caption),
    ramp(colour, top + 8),
    marks.map(({ shape, meaning }, i) => {
      const y = under + MARK_ROW * i;
      return [mark(shape, 12, y, 15), label(34, y + 13, meaning)];
    }),
  ]);
}

interface Layout {
  readonly isNamed: boolean;
  readonly bands: number;
  readonly cell: number;
  readonly left: number;
  readonly width: number;
  readonly height: number;
  x(column: number): number;
  y(row: number, column: number): number;
}

function layoutOf(rows: readonly string[], columns: readonly string[]): Layout {
  const isNamed = columns.length <= NAMED;
  const cell = isNamed ? 16 : 9.5;
  const bands = Math.max(Math.ceil(columns.length / BAND), 1);
  const longest = columns.reduce((most, name) => Math.max(most, Array.from(name).length), 2);
  const head = isNamed ? 10 + CHARACTER * Math.min(longest, NAME_CHARACTERS) : 18;
  const left = 18 + rows.reduce((most, name) => Math.max(most, textWidth(name)), 0);
  const band = head + CELL_HEIGHT * rows.length + 12;
  return {
    isNamed,
    bands,
    cell,
    left,
    width: left + cell * Math.min(columns.length, BAND) + 8,
    height: bands * band,
    x: (column) => fixed(left + cell * (column % BAND)),
    y: (row, column) => fixed(band * Math.floor(column / BAND) + head + CELL_HEIGHT * row),
  };
}

function columnNames(columns: readonly string[], { isNamed, cell, x, y }: Layout): Content {
  return columns.map((name, column) => {
    const base = fixed(y(0, column) - 5);
    if (!isNamed) return column % 8 === 0 ? label(x(column), base, column) : [];
    const place = `translate(${fixed(x(column) + cell / 2 + 4)},${base})rotate(-90)`;
    return markup`<text class="mono" transform="${place}">${cut(name, NAME_CHARACTERS)}</text>\n`;
  });
}

function rowNames(rows: readonly string[], { bands, left, y }: Layout): Content {
  return Array.from({ length: bands }, (_, band) =>
    rows.map((name, row) => label(left - 6, y(row, band * BAND) + CELL_HEIGHT - 5, name, 'end')),
  );
}

function cell(map: Heatmap, { cell, x, y }: Layout, colour: ColourScale, row: number, column: number): Content {
  const value = map.values[row]?.[column];
  const box = markup`x="${x(column)}" y="${y(row, column)}" width="${fixed(cell - 1)}" height="${CELL_HEIGHT - 1}"`;
  const title = hover(map.label?.(row, column));
  if (value === undefined || Number.isNaN(value))
    return markup`<rect class="blank" fill="none" stroke="#ccc" ${box}>${title}</rect>\n`;
  const step = colour.step(value);
  return markup`<rect class="r${step}" fill="${RAMP[step]}" ${box}>${title}</rect>\n`;
}

interface ColourScale {
  /** Absent where no value has a place on the scale; the others where all values are one. */
  readonly low?: number;
  readonly middle?: number;
  readonly high?: number;
  /** From 0 to 9. */
  step(value: number): number;
}

function scaleOf(values: readonly number[], log: boolean): ColourScale {
  const placed = log ? values.filter((value) => value > 0) : values;
  if (placed.length === 0) return { step: () => 0 };
  const low = placed.reduce((a, b) => Math.min(a, b));
  const high = placed.reduce((a, b) => Math.max(a, b));
  const share = log
    ? (value: number) => Math.log(value / low) / Math.log(high / low)
    : (value: number) => (value - low) / (high - low);
  const step = (value: number) => (value > low ? Math.min(Math.floor(share(value) * RAMP.length), RAMP.length - 1) : 0);
  const middle = log ? Math.sqrt(low) * Math.sqrt(high) : low + (high - low) / 2;
  return low === high ? { low, step } : { low, middle, high, step };
}

function ramp({ low, middle, high }: ColourScale, y: number): Content {
  if (low === undefined) return [];
  const edge = (value: number | undefined, at: number, anchor: 'start' | 'middle' | 'end') =>
    value === undefined ? [] : label(12 + SWATCH * at, y + 26, edgeText(value), anchor);
  return [
    RAMP.map((fill, i) => {
      const box = markup`x="${12 + SWATCH * i}" y="${fixed(y)}" width="${SWATCH}" height="12"`;
      return markup`<rect class="r${i}" fill="${fill}" ${box}/>`;
    }),
    edge(low, 0, 'start'),
    edge(middle, RAMP.length / 2, 'middle'),
    edge(high, RAMP.length, 'end'),
  ];
}

const edgeText = (value: number): string => (Number.isInteger(value) ? tickText(value) : significant(value));

/** A frame around a cell, or a cross over it. */
function mark(shape: HeatmapMark['shape'], x: number, y: number, width: number): Content {
  const height = CELL_HEIGHT - 1;
  if (shape === 'ring') {
    const box = markup`x="${fixed(x - 1)}" y="${fixed(y - 1)}" width="${fixed(width + 2)}" height="${height + 2}"`;
    return markup`<rect class="ring" fill="none" stroke="#000" stroke-width="2.5" ${box}/>\n`;
  }
  const [left, right, top, bottom] = [x + 2, x + width - 2, y + 3, y + height - 3].map(fixed);
  const d = `M${left},${top}L${right},${bottom}M${right},${top}L${left},${bottom}`;
  return [
    markup`<path class="halo" fill="none" stroke="#fff" stroke-width="4.5" d="${d}"/>`,
    markup`<path class="cross" fill="none" stroke="#c00" stroke-width="2" d="${d}"/>\n`,
  ];
}
