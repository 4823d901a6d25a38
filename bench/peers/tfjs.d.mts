/** Operands A [m, k] and B [k, n], row-major. */
export interface Product {
  readonly a: Float32Array;
  readonly b: Float32Array;
  readonly m: number;
  readonly n: number;
  readonly k: number;
}

/** Operands x [m, k] and W [k, n], row-major. */
export interface Gradient {
  readonly x: Float32Array;
  readonly w: Float32Array;
  readonly m: number;
  readonly n: number;
  readonly k: number;
}

/** A library that differentiates on a WebGPU adapter. */
export interface GradientPeer {
  readonly name: string;
  /** Work that computes the gradient in W of sum((x W)^2) and reads it back. */
  gradient(problem: Gradient): () => Promise<Float32Array>;
}

/** A library that multiplies matrices on a WebGPU adapter. */
export interface Peer {
  readonly name: string;
  /** Work that computes A B `count` times and waits for it. */
  products(product: Product, count: number): () => Promise<void>;
}

/** tfjs on its WebGPU backend; `npm install` in bench/peers first. */
export function tfjsWebgpu(requestAdapter: () => Promise<GPUAdapter>): Promise<Peer & GradientPeer>;
