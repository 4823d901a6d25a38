import { createNodeContext } from '../../src/gpu/context.node.ts';
import { requestNodeAdapter } from '../../src/gpu/dawn.node.ts';
import { folderSource } from '../../src/io/folder.node.ts';
import type { Source } from '../../src/io/source.ts';

/** A context on the adapter the tests are pinned to. */
export const testContext = () => createNodeContext();

/** The adapter of `testContext`, fresh, for a device of the test's own. */
export const testAdapter = async (): Promise<GPUAdapter> => (await requestNodeAdapter()).adapter;

/** A folder of the checkout, by its path from the root. */
export const checkoutSource = (path: string): Source =>
  folderSource(new URL(`../../${path}`, import.meta.url).pathname);
