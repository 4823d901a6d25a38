import { existsSync, readFileSync } from 'node:fs';
import { isBuiltin } from 'node:module';
import { fileURLToPath } from 'node:url';
import { build, type Plugin, parseAst, type Rolldown } from 'vite';
import { beforeAll, describe, expect, test } from 'vitest';

const root = fileURLToPath(new URL('..', import.meta.url));
const entry = `${root}src/index.ts`;

describe.runIf(existsSync(entry))('the browser bundle', () => {
  let builtins: string[] = [];
  let chunks: Rolldown.OutputChunk[] = [];
  let modules: string[] = [];

  beforeAll(async () => {
    ({ builtins, chunks } = await bundle(entry));
    modules = chunks.flatMap((chunk) => Object.keys(chunk.modules));
  });

  test('holds everything: nothing is left to import', () => {
    const own = new Set(chunks.map((chunk) => chunk.fileName));
    const imports = chunks.flatMap((chunk) => [...chunk.imports, ...chunk.dynamicImports]);
    expect(imports.filter((name) => !own.has(name))).toEqual([]);
  });

  test('asks for no module of Node', () => {
    expect(builtins).toEqual([]);
    expect(modules.filter((id) => id.includes('__vite-browser-external'))).toEqual([]);
  });

  test('contains no *.node.ts file and no Dawn', () => {
    expect(modules.filter((id) => id.endsWith('.node.ts') || id.includes('/node_modules/webgpu/'))).toEqual([]);
  });

  test("uses none of Node's global names", () => {
    const used = chunks.flatMap((chunk) => [...identifiers(parseAst(chunk.code))]);
    const ofNode = ['process', 'Buffer', 'require', '__dirname', '__filename', 'setImmediate'];
    expect(ofNode.filter((name) => used.includes(name))).toEqual([]);
  });

  test('carries its shaders as they stand in their files', () => {
    const texts = new Set(chunks.flatMap((chunk) => [...strings(parseAst(chunk.code))]));
    const shaders = modules.filter((id) => id.endsWith('.wgsl?raw')).map((id) => id.slice(0, -'?raw'.length));
    expect(shaders).not.toEqual([]);
    expect(shaders.filter((file) => !texts.has(readFileSync(file, 'utf8')))).toEqual([]);
  });
});

async function bundle(input: string): Promise<{ builtins: string[]; chunks: Rolldown.OutputChunk[] }> {
  const builtins: string[] = [];
  const noteBuiltins: Plugin = {
    name: 'note-builtins',
    enforce: 'pre',
    resolveId(id, importer) {
      if (isBuiltin(id)) builtins.push(`${id} from ${importer}`);
      return null;
    },
  };
  const result = (await build({
    root,
    configFile: false,
    logLevel: 'error',
    plugins: [noteBuiltins],
    build: {
      write: false,
      minify: false,
      target: 'es2022',
      lib: { entry: input, formats: ['es'], fileName: 'index' },
      rolldownOptions: { treeshake: false },
    },
  })) as Rolldown.RolldownOutput | Rolldown.RolldownOutput[];
  const outputs = [result].flat().flatMap(({ output }) => output as (Rolldown.OutputChunk | Rolldown.OutputAsset)[]);
  return { builtins, chunks: outputs.filter((output) => output.type === 'chunk') };
}

type Syntax = { type?: string; [key: string]: unknown };

/** Names that stand for a variable: neither properties after a dot nor keys. */
function* identifiers(node: unknown): Generator<string> {
  for (const { child, key, parent } of children(node)) {
    const isLabel = (key === 'property' || key === 'key') && parent.computed === false && parent.shorthand !== true;
    if (isLabel) continue;
    if (child.type === 'Identifier') yield child.name as string;
    yield* identifiers(child);
  }
}

/** Values of string literals and of templates without holes. */
function* strings(node: unknown): Generator<string> {
  for (const { child } of children(node)) {
    if (child.type === 'Literal' && typeof child.value === 'string') yield child.value;
    if (child.type === 'TemplateElement') yield (child.value as { cooked: string }).cooked;
    yield* strings(child);
  }
}

function* children(node: unknown): Generator<{ child: Syntax; key: string; parent: Syntax }> {
  const parent = node as Syntax;
  for (const [key, value] of Object.entries(parent)) {
    for (const child of Array.isArray(value) ? value : [value]) {
      if (child && typeof child === 'object') yield { child, key, parent };
    }
  }
}
