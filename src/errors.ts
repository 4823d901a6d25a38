/**
 * What went wrong, where, and what to do about it. Every error preimage throws on purpose is one of these, so
 * `catch (e) { if (e instanceof PreimageError) ... }` tells bad input from bugs.
 */
export class PreimageError extends Error {
  /** What happened and where; the message is this and the cure. */
  readonly what: string;
  /** One sentence that says how to get past the error. */
  readonly cure: string;

  /**
   * @param what What happened and where, with the values that disagree.
   * @param cure What the user can do about it.
   */
  constructor(what: string, cure: string, options?: ErrorOptions) {
    super(`${what} ${cure}`, options);
    this.name = new.target.name;
    this.what = what;
    this.cure = cure;
  }
}

/** A file that does not follow its format (safetensors, JSON): truncated, overlapping, hostile. */
export class FormatError extends PreimageError {}
/** A file, folder, URL or hub id that cannot be read or written. */
export class SourceError extends PreimageError {}
/** A config.json that preimage cannot run, or that disagrees with itself or its weights. */
export class ConfigError extends PreimageError {}
/** A parameter the config asks for that the checkpoint lacks or holds in another shape. */
export class MissingTensorError extends PreimageError {}
/** Input the model cannot take: token ids, prompts, states, layers. */
export class InputError extends PreimageError {}
/** Training that cannot go on: a loss or gradient that is no finite number. */
export class TrainingError extends PreimageError {}
/** Operand shapes that do not fit together. */
export class ShapeError extends PreimageError {}
/** No adapter, or one that lacks what the work needs. */
export class AdapterError extends PreimageError {}
/** A shader that does not compile; the message shows file, line, column and source. */
export class ShaderError extends PreimageError {}
/** The GPU rejected a command: a bug in preimage or in a user's own operation. */
export class GpuError extends PreimageError {}
/** An allocation beyond the adapter's limits, the byte budget or its memory. */
export class OutOfMemoryError extends PreimageError {}
/** The device went away (driver reset, `destroy()`); everything on it is gone. */
export class DeviceLostError extends PreimageError {}
