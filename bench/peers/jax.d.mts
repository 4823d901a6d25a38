import type { GradientPeer } from './tfjs.d.mts';

/** jax-js on an adapter of the caller's; it takes its own device. */
export function jaxJs(requestAdapter: () => Promise<GPUAdapter>): Promise<GradientPeer>;
