import { playwright } from '@vitest/browser-playwright';
import { defineConfig, type TestProjectInlineConfiguration, type ViteUserConfig } from 'vitest/config';
import { findBrowser } from './test/support/browser.node.ts';

const report = process.env.PREIMAGE_TEST_REPORT;

/** The same adapter everywhere, so that a test that passes here passes there; `PREIMAGE_ADAPTER` picks another. */
const hasSwiftShader = process.platform === 'linux' && process.arch === 'x64';
const adapter = process.env.PREIMAGE_ADAPTER || (hasSwiftShader ? 'swiftshader' : 'auto');

/** Adapters on the CPU are slow, and slower when two projects share the cores. */
const patience = { testTimeout: 120_000, hookTimeout: 120_000 };

const node: TestProjectInlineConfiguration = {
  test: {
    ...patience,
    name: 'node',
    include: ['test/**/*.test.ts'],
    // Workers as threads could not set the environment that the Vulkan loader reads.
    pool: 'forks',
    maxWorkers: 2,
    env: { PREIMAGE_ADAPTER: adapter },
  },
};

async function chromium(): Promise<TestProjectInlineConfiguration[]> {
  const browser = await findBrowser();
  if ('missing' in browser) {
    console.warn(`chromium: these tests are left out: ${browser.missing}`);
    return [];
  }
  return [
    {
      // Found now, a dependency does not reload the page in the middle of a run.
      optimizeDeps: { include: ['@huggingface/tokenizers', 'ml-matrix'] },
      test: {
        ...patience,
        name: 'page',
        include: ['test/**/*.test.ts'],
        exclude: ['test/**/*.node.test.ts'],
        fileParallelism: false,
        sequence: { groupOrder: 1 }, // after the Node tests
        browser: {
          enabled: true,
          provider: playwright({ launchOptions: browser.launch }),
          instances: [{ browser: 'chromium', name: 'chromium' }],
          headless: true,
          ui: false,
          screenshotFailures: false,
        },
      },
    },
  ];
}

export default defineConfig(
  async (): Promise<ViteUserConfig> => ({
    test: {
      projects: [node, ...(await chromium())],
      reporters: report ? ['default', ['json', { outputFile: report }]] : ['default'],
    },
  }),
);
