import { createNodeContext } from '../../src/gpu/context.node.ts';

/** A context on the adapter the tests are pinned to. */
export const testContext = () => createNodeContext();
