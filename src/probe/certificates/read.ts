import { FormatError } from '../../errors.ts';
import { isObject, quote } from '../../io/json.ts';
import { type ActivationName, activations } from '../../reference/activation.ts';
import type { Block, Certificate, RegionKind, Subject } from './types.ts';

/** A certificate as the text of its file. */
export function certificateJson(certificate: Certificate): string {
  return JSON.stringify(certificate, (_key, value) =>
    ArrayBuffer.isView(value) ? Array.from(value as Float64Array) : value,
  );
}

const REGIONS: readonly RegionKind[] = ['ellipsoid', 'hull', 'bound', 'cone'];
const DIGEST = /^[0-9a-f]{16}(-centred)?$/;

/**
 * Reads a certificate that nobody vouches for: the shape of the data, not its truth.
 * @param json As `JSON.parse` gives it.
 * @throws FormatError that names the field which is missing or not what it should be.
 */
export function readCertificate(json: unknown): Certificate {
  const fields = object(json, 'the certificate');
  const { kind } = fields;
  if (kind === 'dominated') {
    const dominators = list(fields.dominators, 'dominators').map((part, i) => {
      const { token, weight } = object(part, `dominators[${i}]`);
      return { token: whole(token, `dominators[${i}].token`), weight: finite(weight, `dominators[${i}].weight`) };
    });
    if (dominators.length === 0) throw bad('dominators', 'at least one row');
    return {
      kind,
      subject: readSubject(fields.subject, kind),
      token: whole(fields.token, 'token'),
      dominators,
      lead: finite(fields.lead, 'lead'),
      tolerance: finite(fields.tolerance, 'tolerance'),
    };
  }
  const region = REGIONS.find((known) => known === kind);
  if (!region) throw bad('kind', `one of ${[...REGIONS, 'dominated'].join(', ')}`);
  const target = numbers(fields.target, 'target');
  const direction = numbers(fields.direction, 'direction');
  if (direction.length !== target.length) throw bad('direction', `${target.length} numbers, as the target`);
  return {
    kind: region,
    subject: readSubject(fields.subject, region),
    target,
    direction,
    value: finite(fields.value, 'value'),
    bound: finite(fields.bound, 'bound'),
    tolerance: finite(fields.tolerance, 'tolerance'),
  };
}

function readSubject(json: unknown, kind: Certificate['kind']): Subject {
  const fields = object(json, 'subject');
  if (fields.block !== undefined) return { block: readBlock(object(fields.block, 'subject.block'), kind) };
  const { model, part, prefix, values } = fields;
  if (typeof model !== 'string' || !DIGEST.test(model)) throw bad('subject.model', 'the digest of a model');
  if (typeof part !== 'string' || part.length > 100) throw bad('subject.part', 'the name of a part of the model');
  if (prefix !== undefined && values !== undefined) throw bad('subject.values', 'left out, as there is a prefix');
  return {
    model,
    part,
    ...(prefix !== undefined && { prefix: list(prefix, 'subject.prefix').map((id) => whole(id, 'subject.prefix')) }),
    ...(values !== undefined && { values: numbers(values, 'subject.values') }),
  };
}

/** What each field of a block holds; those with a question mark may be missing. */
const FIELDS = {
  ellipsoid: { weight: numbers, bias: numbers },
  hull: {
    norm: normOf,
    heads: whole,
    valueWeight: numbers,
    valueBias: numbers,
    outWeight: numbers,
    outBias: numbers,
    values: numbers,
  },
  bound: { norm: normOf, ...mlpFields() },
  cone: { 'norm?': normOf, ...mlpFields() },
  dominated: { norm: normOf, weight: numbers, 'bias?': numbers, 'tokens?': numbers },
} as const;

function mlpFields() {
  return { activation: activationOf, inWeight: numbers, inBias: numbers, outWeight: numbers, outBias: numbers };
}

function readBlock(fields: Record<string, unknown>, kind: Certificate['kind']): Block {
  const read: Record<string, unknown> = {};
  for (const [entry, reader] of Object.entries(FIELDS[kind])) {
    const name = entry.replace('?', '');
    if (name !== entry && fields[name] === undefined) continue;
    read[name] = reader(fields[name], `subject.block.${name}`);
  }
  return read as unknown as Block;
}

function normOf(json: unknown, field: string) {
  const { weight, bias } = object(json, field);
  return { weight: numbers(weight, `${field}.weight`), bias: numbers(bias, `${field}.bias`) };
}

function activationOf(json: unknown, field: string): ActivationName {
  if (typeof json === 'string' && Object.hasOwn(activations, json)) return json as ActivationName;
  throw bad(field, `one of ${Object.keys(activations).join(', ')}`);
}

function object(json: unknown, field: string): Record<string, unknown> {
  if (isObject(json)) return json;
  throw bad(field, 'an object');
}

function list(json: unknown, field: string): unknown[] {
  if (Array.isArray(json)) return json;
  throw bad(field, 'a list');
}

function numbers(json: unknown, field: string): number[] {
  const values = list(json, field);
  const wrong = values.findIndex((value) => !Number.isFinite(value));
  if (wrong >= 0) throw bad(`${field}[${wrong}]`, 'a finite number');
  return values as number[];
}

function finite(json: unknown, field: string): number {
  if (Number.isFinite(json)) return json as number;
  throw bad(field, 'a finite number');
}

function whole(json: unknown, field: string): number {
  if (Number.isSafeInteger(json) && (json as number) >= 0) return json as number;
  throw bad(field, 'a whole number, 0 or more');
}

const bad = (field: string, wanted: string) =>
  new FormatError(`In the certificate, ${quote(field)} must be ${wanted}.`, 'Write the certificate again.');
