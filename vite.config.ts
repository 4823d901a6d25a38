import { chmod } from 'node:fs/promises';
import { isBuiltin } from 'node:module';
import { join } from 'node:path';
import { defineConfig, type Plugin } from 'vite';
import manifest from './package.json' with { type: 'json' };

const packages = Object.keys({ ...manifest.dependencies, ...manifest.peerDependencies });

/** What is installed beside preimage stays an import: Node or the user's bundler resolves it. */
function isExternal(id: string): boolean {
  return isBuiltin(id) || packages.some((name) => id === name || id.startsWith(`${name}/`));
}

/** `npm` marks a bin when it installs one, but `dist/cli.js` is also started as it is. */
function executable(file: string): Plugin {
  return {
    name: 'executable',
    async writeBundle({ dir }, bundle) {
      if (dir && file in bundle) await chmod(join(dir, file), 0o755);
    },
  };
}

export default defineConfig({
  publicDir: false,
  plugins: [executable('cli.js')],
  build: {
    lib: {
      entry: { index: 'src/index.ts', node: 'src/node.ts', cli: 'src/cli/main.ts' },
      formats: ['es'],
      fileName: (_format, name) => `${name}.js`,
    },
    target: 'es2022',
    minify: false,
    sourcemap: true,
    rolldownOptions: {
      external: isExternal,
      output: {
        minifyInternalExports: false,
        chunkFileNames: 'chunks/[name].js',
        banner: (chunk) => (chunk.name === 'cli' && chunk.isEntry ? '#!/usr/bin/env node' : ''),
      },
    },
  },
});
