import { createContext } from '../../src/gpu/context.ts';

/** A context on the browser's adapter. */
export const testContext = () => createContext();
