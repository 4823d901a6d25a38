import { ShaderError } from '../errors.ts';

/** A WGSL file: valid as it stands, its name kept for messages. */
export interface Shader {
  /** Path in the repository, for messages: `shaders/matmul.wgsl`. Pipelines are cached by it: one file, one code. */
  readonly file: string;
  readonly code: string;
}

/** One entry point of a shader, specialised by its `override` constants and named `const` values. */
export interface Kernel {
  readonly shader: Shader;
  readonly entry: string;
  /** Values of `override` declarations. */
  readonly constants?: Readonly<Record<string, number>>;
  /** New values for top-level `const NAME: u32 = ...;` declarations (register tiles, which WGSL cannot override). */
  readonly tiles?: Readonly<Record<string, number>>;
}

/** A string that is equal for equal kernels. */
export function kernelKey(kernel: Kernel): string {
  return `${kernel.shader.file}:${kernel.entry}:${JSON.stringify(kernel.constants ?? {})}:${JSON.stringify(kernel.tiles ?? {})}`;
}

/** The WGSL text of a kernel: the file with its named `const` values replaced. */
export function kernelCode({ shader, tiles }: Kernel): string {
  let code = shader.code;
  for (const [name, value] of Object.entries(tiles ?? {})) {
    const declaration = new RegExp(`^const ${name}: u32 = \\d+u;`, 'm');
    if (!declaration.test(code)) {
      throw new ShaderError(
        `${shader.file} has no line "const ${name}: u32 = ...;".`,
        'Declare it at the top level of the file.',
      );
    }
    code = code.replace(declaration, `const ${name}: u32 = ${value}u;`);
  }
  return code;
}

/** Access of each storage binding of group 0, by binding number, read from the declarations themselves. */
export function storageBindings(code: string): Map<number, 'read' | 'read_write'> {
  const bindings = new Map<number, 'read' | 'read_write'>();
  const declaration = /@group\(0\)\s*@binding\((\d+)\)\s*var<storage(?:,\s*(read_write|read))?>/g;
  for (const [, number, access] of code.matchAll(declaration)) {
    bindings.set(Number(number), access === 'read_write' ? 'read_write' : 'read');
  }
  return bindings;
}

/** Formats compiler messages as `file:line:column: message`, each with its source line and a caret. */
export function formatCompilation(file: string, code: string, messages: readonly GPUCompilationMessage[]): string {
  const lines = code.split('\n');
  return messages
    .map(({ type, message, lineNum, linePos }) => {
      const source = lineNum > 0 ? `\n  ${lines[lineNum - 1] ?? ''}\n  ${' '.repeat(Math.max(linePos - 1, 0))}^` : '';
      return `${file}:${lineNum}:${linePos}: ${type}: ${message.split('\n')[0]}${source}`;
    })
    .join('\n');
}

/** The compile errors of a module as a ShaderError, or undefined when it compiled. */
export async function compilationError(module: GPUShaderModule, kernel: Kernel): Promise<ShaderError | undefined> {
  const { messages } = await module.getCompilationInfo();
  const errors = messages.filter((message) => message.type === 'error');
  if (errors.length === 0) return undefined;
  return new ShaderError(
    `${kernel.shader.file} (${kernel.entry}) does not compile on this adapter:\n${formatCompilation(kernel.shader.file, kernelCode(kernel), errors)}\n`,
    'If the file is preimage\'s own, please report it with the output of "preimage info".',
  );
}
