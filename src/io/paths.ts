/**
 * Whether a path stays inside the place it is joined to: relative, plain names between forward slashes. False for
 * absolute paths, `..`, `.`, empty names, backslashes, drive letters, control characters and lone surrogates.
 */
export function isPlainPath(path: string): boolean {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is refused.
  if (/[\u0000-\u001f\u007f\\:\p{Surrogate}]/u.test(path)) return false;
  return path.split('/').every((name) => name !== '' && name !== '.' && name !== '..');
}
