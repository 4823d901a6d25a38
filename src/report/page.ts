import { type Content, Markup, markup } from './markup.ts';
import { STYLE } from './style.ts';

/** A part of a page, under a heading of its own. */
export interface Section {
  readonly title: string;
  readonly body: Content;
}

/** How a result came about: what another needs in order to repeat it. */
export interface Provenance {
  /** The command, as it can be typed again. */
  readonly command: string;
  /** Name of the model. */
  readonly model: string;
  /** Digest of its weights. */
  readonly digest: string;
  /** Name of the GPU adapter, or of the software that stood in for one. */
  readonly adapter: string;
  /** The computer around it, where known. */
  readonly machine?: string;
  readonly date: Date;
  /** Of preimage. */
  readonly version?: string;
}

/** What a page holds. */
export interface Page {
  readonly title: string;
  /** Below the title, before all sections: what came out, in a few sentences. */
  readonly summary: Content;
  readonly sections: readonly Section[];
  readonly provenance: Provenance;
  /** Rules for this kind of page. Trusted. */
  readonly style?: string;
}

/**
 * A document of its own: no script, and nothing is fetched (a policy in its head forbids both). It follows the reader's
 * light or dark colours, and can be printed.
 *
 * @returns HTML, for a file that ends in `.html`.
 */
export function page({ title, summary, sections, provenance, style = '' }: Page): string {
  const all = [...sections, { title: 'How to repeat this', body: provenanceList(provenance) }];
  const id = (index: number) => `section-${index + 1}`;
  const links = all.map(({ title }, i) => markup`<li><a href="#${id(i)}">${title}</a></li>`);
  const bodies = all.map(
    ({ title, body }, i) =>
      markup`<section aria-labelledby="${id(i)}">\n<h2 id="${id(i)}">${title}</h2>\n${body}</section>\n`,
  );
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="generator" content="preimage">
${markup`<title>${title}</title>`}
${markup`<style>${new Markup(STYLE + style)}</style>`}
</head>
<body>
${markup`<header>\n<h1>${title}</h1>\n${summary}<nav aria-label="Sections"><ul>${links}</ul></nav>\n</header>
<main>\n${bodies}</main>\n`}</body>
</html>
`;
}

function provenanceList({ command, model, digest, adapter, machine, date, version }: Provenance): Markup {
  const facts: readonly (readonly [string, Content])[] = [
    ['Model', model],
    ['Digest of its weights', markup`<code>${digest}</code>`],
    ['Adapter', adapter],
    ['Machine', machine],
    [
      'Date',
      markup`<time datetime="${date.toISOString()}">${date.toISOString().slice(0, 16).replace('T', ' ')} UTC</time>`,
    ],
    ['preimage', version],
  ];
  const known = facts.filter(([, value]) => value !== undefined);
  return markup`<pre><code>${command}</code></pre>
<dl>${known.map(([name, value]) => markup`<dt>${name}</dt><dd>${value}</dd>\n`)}</dl>
`;
}
