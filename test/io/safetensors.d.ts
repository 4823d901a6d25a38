/** The npm package safetensors 0.0.1, which ships no types. */
declare module 'safetensors/dist/safetensors.es.js' {
  export class SafeTensor {
    constructor(file: Uint8Array);
    readonly metadata: Map<string, { dtype: string; shape: number[]; data_offsets: [number, number] }>;
    getTensor(name: string): Uint8Array;
  }
}
