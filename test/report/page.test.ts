import { expect, test } from 'vitest';
import { markup } from '../../src/report/markup.ts';
import { page } from '../../src/report/page.ts';
import { table } from '../../src/report/table.ts';

const hostile = '</title></style></script><img src=x onerror="alert(1)">';

const provenance = {
  command: `preimage invert '${hostile}'`,
  model: hostile,
  digest: 'abc',
  adapter: hostile,
  date: new Date('2026-01-02T03:04:05Z'),
};

const html = page({
  title: hostile,
  summary: markup`<p>${hostile}</p>`,
  sections: [
    {
      title: hostile,
      body: table(
        hostile,
        [{ title: 'token' }, { title: hostile, isNumber: true }],
        [{ cells: [hostile, 1], note: hostile, id: 'row', kind: 'bad' }],
      ),
    },
  ],
  provenance,
});

test('a page has its parts, and links to them', () => {
  expect(html.match(/<h1>/g)).toHaveLength(1);
  expect(html.match(/<h2 id="section-\d"/g)).toHaveLength(2);
  expect(html).toContain('href="#section-2"');
  expect(html).toContain('<time datetime="2026-01-02T03:04:05.000Z">2026-01-02 03:04 UTC</time>');
  expect(html).not.toContain('Machine');
});

test('a page runs and fetches nothing', () => {
  expect(html).toContain(`content="default-src 'none'; style-src 'unsafe-inline'"`);
  expect(html).not.toMatch(/<script|<img|<link|@import|url\(|src="|:\/\//);
});

test.runIf(typeof DOMParser !== 'undefined')('a browser sees no element that the page did not mean', () => {
  const seen = new DOMParser().parseFromString(html, 'text/html');
  expect(seen.querySelectorAll('script, img')).toHaveLength(0);
  expect(seen.querySelectorAll('style')).toHaveLength(1);
  expect(seen.title).toBe(hostile);
  expect(seen.querySelector('h1')!.textContent).toBe(hostile);
  expect(seen.querySelector('tr#row th')!.textContent).toBe(hostile);
  expect(seen.querySelector('caption')!.textContent).toBe(hostile);
  expect(seen.querySelector('pre')!.textContent).toBe(provenance.command);
  for (const link of seen.querySelectorAll('a')) expect(seen.querySelector(link.hash)).not.toBeNull();
});

test.runIf(typeof document !== 'undefined')('a page is no wider than a phone', async () => {
  const frame = document.createElement('iframe');
  frame.style.width = '360px';
  const wide = { title: 'x'.repeat(200), isNumber: true };
  const body = table('A wide table', [{ title: 'token' }, wide], [{ cells: ['y'.repeat(300), 1] }]);
  const loaded = new Promise((resolve) => frame.addEventListener('load', resolve));
  frame.srcdoc = page({ title: 'z'.repeat(100), summary: '', sections: [{ title: 'Wide', body }], provenance });
  document.body.append(frame);
  await loaded;
  const { scrollWidth, clientWidth } = frame.contentDocument!.documentElement;
  frame.remove();
  expect(scrollWidth).toBeLessThanOrEqual(clientWidth);
});
