/** A shader's source text, inlined by Vite: the same file serves Node, browser bundles and editors. */
declare module '*.wgsl?raw' {
  const code: string;
  export default code;
}
