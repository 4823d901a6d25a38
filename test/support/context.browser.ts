import { createContext } from '../../src/gpu/context.ts';
import { urlSource } from '../../src/io/http.ts';
import type { Source } from '../../src/io/source.ts';

/** A context on the browser's adapter. */
export const testContext = () => createContext();

/** The adapter of `testContext`, fresh, for a device of the test's own. */
export const testAdapter = async (): Promise<GPUAdapter> => (await navigator.gpu.requestAdapter())!;

/** A folder of the checkout, by its path from the root, as Vite serves it. */
export const checkoutSource = (path: string): Source => urlSource(`${location.origin}/${path}/`);
