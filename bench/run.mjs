// Runs a TypeScript benchmark under Node: node bench/run.mjs bench/matmul.ts [arguments]
import { resolve } from 'node:path';
import { createServer, createServerModuleRunner } from 'vite';

const [file, ...args] = process.argv.slice(2);
const server = await createServer({
  configFile: false,
  appType: 'custom',
  // tfjs's gradients are ES modules without file extensions, which Node does not resolve.
  ssr: { noExternal: [/@tensorflow\//] },
  server: { middlewareMode: true, hmr: false, ws: false, watch: null },
});
const runner = createServerModuleRunner(server.environments.ssr);
const { main } = await runner.import(resolve(file));
await main(args);
await server.close();
