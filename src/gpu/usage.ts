/** WebGPU's usage flags by value: the globals that name them are absent where a module loads before the adapter. */
export const MAP_READ = 0x1;
export const COPY_SRC = 0x4;
export const COPY_DST = 0x8;
export const UNIFORM = 0x40;
export const STORAGE = 0x80;
export const QUERY_RESOLVE = 0x200;

/** GPUShaderStage.COMPUTE */
export const COMPUTE_STAGE = 0x4;

/** GPUMapMode.READ */
export const READ_MODE = 0x1;
