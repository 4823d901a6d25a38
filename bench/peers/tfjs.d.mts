/** A library that multiplies matrices on a WebGPU adapter. */
export interface Peer {
  readonly name: string;
  /** Work that computes `count` products of A [M, K] and B [K, N] and waits for them. */
  products(a: Float32Array, b: Float32Array, m: number, n: number, k: number, count: number): () => Promise<void>;
}

/** tfjs on its WebGPU backend; `npm install` in bench/peers first. */
export function tfjsWebgpu(requestAdapter: () => Promise<GPUAdapter>): Promise<Peer>;
