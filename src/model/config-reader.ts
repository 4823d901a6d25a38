import { ConfigError } from '../errors.ts';
import { type ActivationName, activations } from '../reference/activation.ts';

const ACTIVATION_ALIASES: Readonly<Record<string, ActivationName>> = { gelu_pytorch_tanh: 'gelu_new', swish: 'silu' };

/**
 * Typed access to the fields of a config; `null` counts as absent, as in transformers. All of it throws ConfigError for
 * a field of another kind, or one that is absent and has no fallback.
 */
export function configReader(raw: Readonly<Record<string, unknown>>, name: string) {
  function field<T>(key: string, fallback: T | undefined, accepts: (value: unknown) => boolean, kind: string): T {
    const value = raw[key] ?? fallback;
    if (value === undefined)
      throw new ConfigError(`${name} has no ${key}.`, `Add ${key}, ${kind}, as in the model's own config.json.`);
    if (!accepts(value)) throw new ConfigError(`${name} has ${key} = ${describeValue(value)}.`, `Make it ${kind}.`);
    return value as T;
  }
  return {
    size: (key: string, fallback?: number) =>
      field<number>(key, fallback, (v) => Number.isSafeInteger(v) && Number(v) > 0, 'a positive integer'),
    positive: (key: string, fallback?: number) =>
      field<number>(key, fallback, (v) => Number.isFinite(v) && Number(v) > 0, 'a positive number'),
    flag: (key: string, fallback: boolean) => field(key, fallback, (v) => typeof v === 'boolean', 'true or false'),
    activation(key: string, fallback: ActivationName): ActivationName {
      const known = { ...ACTIVATION_ALIASES, ...namedActivations };
      const isKnown = (v: unknown) => typeof v === 'string' && Object.hasOwn(known, v);
      return known[field<string>(key, fallback, isKnown, `one of ${Object.keys(known).join(', ')}`)];
    },
  };
}

/** `none` is for kernels: no config names it. */
const namedActivations = Object.fromEntries(
  (Object.keys(activations) as ActivationName[]).filter((name) => name !== 'none').map((name) => [name, name]),
);

/** A JSON value as messages show it. */
export function describeValue(value: unknown): string {
  return value === undefined ? 'missing' : JSON.stringify(value).slice(0, 80);
}
