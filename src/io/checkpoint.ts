/** Element types that preimage reads and writes. */
export type Dtype =
  | 'F64'
  | 'F32'
  | 'F16'
  | 'BF16'
  | 'I64'
  | 'I32'
  | 'I16'
  | 'I8'
  | 'U64'
  | 'U32'
  | 'U16'
  | 'U8'
  | 'BOOL';

/** A tensor as stored. */
export interface TensorInfo {
  /** As its file names it: a `Dtype`, or another such as `F8_E4M3`, of which nothing can be read. */
  readonly dtype: string;
  readonly shape: readonly number[];
}

/** Named tensors in one safetensors file or several shards, read one at a time. */
export interface Checkpoint {
  readonly name: string;
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  readonly metadata: ReadonlyMap<string, string>;
  /** The stored little-endian bytes of a tensor, or of its elements [begin, end). */
  bytes(tensor: string, begin?: number, end?: number): Promise<Uint8Array<ArrayBuffer>>;
  /** Values converted to f32 (floats and integers of any width; F64 rounds to nearest). */
  float32(tensor: string, begin?: number, end?: number): Promise<Float32Array<ArrayBuffer>>;
  /** Values converted to f64. */
  float64(tensor: string, begin?: number, end?: number): Promise<Float64Array<ArrayBuffer>>;
  close(): Promise<void>;
}
