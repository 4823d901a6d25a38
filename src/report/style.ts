import { MUTED, RAMP, SERIES } from './colours.ts';

const colours = (shade: 'light' | 'dark'): string =>
  [...SERIES.map((colour, i) => `.s${i}{--c:${colour[shade]}}`), `.muted{--c:${MUTED[shade]}}`].join('');

const ramp = (steps: readonly string[]): string => steps.map((colour, i) => `.r${i}{fill:${colour}}`).join('');

const LIGHT = `:root{color-scheme:light;--ink:#1c1d21;--soft:#5a5c66;--paper:#fff;--panel:#f4f4f6;--rule:#d9dae0;
--link:#0b5cad;--good:#0a6b3d;--warn:#8a5a00;--bad:#b3261e;--narrow:213 94 0}
${colours('light')}${ramp(RAMP)}`;

const DARK = `:root{color-scheme:dark;--ink:#e9e9ec;--soft:#a9abb6;--paper:#16171b;--panel:#202227;--rule:#383b44;
--link:#8cc2ff;--good:#5fd39a;--warn:#f0bd55;--bad:#ff8a80;--narrow:240 130 50}
${colours('dark')}${ramp(RAMP.toReversed())}`;

/** The style sheet of a page: light or dark as the reader's system, light on paper. */
export const STYLE = `${LIGHT}
@media screen and (prefers-color-scheme:dark){${DARK}}
*{box-sizing:border-box}
body{margin:0 auto;padding:1.5rem 1rem 3rem;max-width:64rem;background:var(--paper);color:var(--ink);
font:1rem/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;overflow-wrap:break-word}
h1{font-size:1.7rem;line-height:1.2;margin:0 0 .5rem}
h2{font-size:1.25rem;line-height:1.3;margin:2.2rem 0 .6rem}
h3{font-size:1.05rem;margin:1.4rem 0 .4rem}
p{margin:.6rem 0;max-width:46rem}
a{color:var(--link)}
nav{margin:1rem 0}nav ul{display:flex;flex-wrap:wrap;gap:.2rem 1.2rem;list-style:none;margin:0;padding:0}
code,.mono,pre{font-family:ui-monospace,"SF Mono",Menlo,Consolas,monospace}
code{font-size:.92em}
pre{background:var(--panel);padding:.7rem .9rem;border-radius:.4rem;margin:.4rem 0;
white-space:pre-wrap;overflow-wrap:anywhere}
.soft{color:var(--soft)}.good{color:var(--good)}.warn-text{color:var(--warn)}.bad-text{color:var(--bad)}
.scroll{overflow-x:auto;margin:.8rem 0}
:focus-visible{outline:2px solid var(--link);outline-offset:2px}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:.92rem}
caption{text-align:left;color:var(--soft);padding:0 0 .4rem}
caption span{display:block;position:sticky;left:0;width:fit-content;max-width:calc(100vw - 2.5rem)}
th,td{padding:.28rem .7rem;text-align:left;vertical-align:baseline;border-bottom:1px solid var(--rule)}
thead th{border-bottom:2px solid var(--rule);white-space:nowrap;font-weight:600}
tbody th{font-weight:400;position:sticky;left:0;background:var(--paper)}
.number{text-align:right;white-space:nowrap}
tr.warn>*{background:color-mix(in srgb,var(--warn) 12%,var(--paper))}
tr.bad>*{background:color-mix(in srgb,var(--bad) 12%,var(--paper))}
tr:has(+tr.note)>*{border-bottom:0}
tr.note td{padding-top:0;white-space:normal;color:var(--soft);font-size:.88rem}
tr:target>*{background:color-mix(in srgb,var(--link) 18%,var(--paper))}
figure{margin:.8rem 0}figcaption{color:var(--soft);font-size:.92rem;max-width:46rem}
svg{display:block}
.plot{width:100%;max-width:34rem;height:auto}
svg text{fill:var(--soft)}svg .ground{fill:none}svg .grid{stroke:var(--rule)}svg .blank{stroke:var(--rule)}
.line{stroke:var(--c)}.dot{fill:var(--c);stroke:var(--c)}.open{fill:var(--paper);stroke:var(--c)}
svg .ring{stroke:var(--ink)}svg .halo{stroke:var(--paper)}svg .cross{stroke:var(--bad)}
.pair{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,26rem),1fr));gap:0 1.5rem}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.3rem 1.2rem;margin:.8rem 0}
dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere}
details{margin:.6rem 0;border:1px solid var(--rule);border-radius:.4rem;padding:.4rem .8rem}
summary{cursor:pointer}
footer{margin-top:2.5rem;color:var(--soft);font-size:.9rem}
@media (max-width:30rem){
dl{grid-template-columns:1fr;gap:0}dd{margin:0 0 .5rem}th,td{padding:.28rem .5rem}h1{font-size:1.4rem}}
@media print{
html{font-size:9pt}body{max-width:none;padding:0}nav{display:none}.scroll{overflow:visible}
svg{max-width:100%;height:auto}*{print-color-adjust:exact;-webkit-print-color-adjust:exact}
h2,h3,summary{break-after:avoid}figure,tr{break-inside:avoid}
details::details-content{content-visibility:visible;display:block}}
`;
