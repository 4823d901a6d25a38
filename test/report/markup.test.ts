import { expect, test } from 'vitest';
import { escaped, Markup, markup } from '../../src/report/markup.ts';
import { cut, duration, number, significant, visible } from '../../src/report/text.ts';

test('what is not markup is escaped, in elements and in attributes', () => {
  const hostile = `</script><img src=x onerror="alert(1)">'&`;
  const made = String(markup`<b title="${hostile}">${hostile}</b>`);
  expect(made.match(/[<>]/g)).toEqual(['<', '>', '<', '>']); // b, /b
  expect(made.match(/"/g)).toHaveLength(2);
  expect(made).toContain('&lt;/script&gt;&lt;img src=x onerror=&quot;alert(1)&quot;&gt;&#39;&amp;');
});

test('markup and lists of it go in as they are; undefined is nothing', () => {
  const items = ['a<', 2, undefined, [markup`<i>${'&'}</i>`]];
  expect(String(markup`<p>${items}</p>`)).toBe('<p>a&lt;2<i>&amp;</i></p>');
  expect(String(markup`<p>${new Markup('<hr>')}</p>`)).toBe('<p><hr></p>');
});

test('characters that XML forbids are spelled out', () => {
  expect(escaped('a\u0000\u0007\u001b\r\u0085\ud800\uffff')).toBe('a\\x00\\x07\\x1b\\x0d\\x85\\u{d800}\\u{ffff}');
  expect(escaped('line\n\ttab 🦉\u202e')).toBe('line\n\ttab 🦉\\u{202e}');
});

test('tokens show spaces, line ends and what could hide or turn the text', () => {
  expect(visible(' a\n\tb')).toBe('·a↵→b');
  expect(visible('x\u202ey\u200b\u2028\u00ad\ufeff')).toBe('x\\u{202e}y\\u{200b}\\u{2028}\\xad\\u{feff}');
  expect(visible('日本 é 🦉')).toBe('日本·é·🦉');
});

test('numbers have three digits to the eye and all of them to machines', () => {
  expect(String(number(0.00123456789))).toBe('<data value="0.00123456789">0.00123</data>');
  expect(String(number(12345.678, '≥ '))).toBe('<data value="12345.678">≥ 12346</data>');
  expect(number(undefined)).toBeUndefined();
  expect([0, 4.123e-6, -2.5e7, 99.95].map(significant)).toEqual(['0', '4.1e-6', '-2.5e+7', '100']);
  expect([0.843, 12.34, 245, 7380].map(duration)).toEqual(['0.84 s', '12.3 s', '4 min 5 s', '2 h 3 min']);
  expect(cut('🦉🦉🦉🦉', 3)).toBe('🦉🦉…');
});
