import { FormatError, InputError, ShapeError } from '../../errors.ts';
import { norm as length } from '../../linalg/vector.ts';
import { bound } from './bound.ts';
import { cone } from './cone.ts';
import { type Unembedding, unembedding } from './dominated.ts';
import { ellipsoid } from './ellipsoid.ts';
import { hull } from './hull.ts';
import { attentionPart, headPart, type ModelParameters, mlpPart, normPart } from './model-parts.ts';
import { readCertificate } from './read.ts';
import { separates, separation } from './separation.ts';
import type {
  AttentionBlock,
  Block,
  Certificate,
  DominationCertificate,
  MlpBlock,
  ModelPart,
  NormBlock,
  Region,
  RegionKind,
  SeparationCertificate,
  Subject,
  UnembeddingBlock,
} from './types.ts';

/** What a certificate is worth. */
export interface Verdict {
  readonly holds: boolean;
  readonly kind: Certificate['kind'];
  /** What it proves, in words; of one that does not hold, what it claims. */
  readonly claim: string;
  /** Why it does not hold. */
  readonly reason?: string;
  /** The numbers of the argument, computed anew. */
  readonly numbers: Readonly<Record<string, number>>;
}

/** Numbers that agree to this share of their size are the same: sums in another order. */
const SAME = 1e-9;

/**
 * Checks a certificate without looking for anything: its numbers are computed anew in float64, with their own rounding
 * allowed for, and must be those that it states.
 * @param json Anything: it is read as data that nobody vouches for.
 * @param model The model it is about, if it is about one.
 * @throws FormatError for what is no certificate; InputError when it is about another model, or none is given.
 */
export async function checkCertificate(json: unknown, model?: ModelParameters): Promise<Verdict> {
  const certificate = readCertificate(json);
  const { subject } = certificate;
  if (!('block' in subject)) await expectModel(subject, model);
  try {
    if (certificate.kind === 'dominated') return checkDomination(certificate, await headFor(subject, model));
    return checkSeparation(certificate, await regionFor(certificate.kind, subject, model));
  } catch (cause) {
    const isOwn = 'block' in subject && cause instanceof InputError;
    if (!(cause instanceof ShapeError || isOwn)) throw cause;
    throw new FormatError(`The certificate does not fit together: ${cause.what}`, 'Write it again.', { cause });
  }
}

/**
 * The set that the outputs of a part of a model, or of a block of its own, are known to stay in.
 * @param model For a part of one.
 * @throws InputError when the model has no such part, or the kind does not apply to it; ShapeError.
 */
export async function regionFor(kind: RegionKind, subject: Subject, model?: ModelParameters): Promise<Region> {
  const block: Block = 'block' in subject ? subject.block : await partFor(kind, subject, model!);
  if (kind === 'ellipsoid') return ellipsoid(block as NormBlock, subject);
  if (kind === 'hull') return hull(block as AttentionBlock, subject);
  return (kind === 'bound' ? bound : cone)(block as MlpBlock, subject);
}

/** The unembedding of a model, or one of its own. @throws InputError, ShapeError */
export async function headFor(subject: Subject, model?: ModelParameters): Promise<Unembedding> {
  if ('block' in subject) return unembedding(subject.block as UnembeddingBlock, subject);
  if (subject.part === 'lm_head') return unembedding(await headPart(model!), subject);
  throw new InputError(`${JSON.stringify(subject.part)} gives no logits.`, 'Name lm_head.');
}

function partFor(kind: RegionKind, subject: ModelPart, model: ModelParameters): Promise<Block> {
  if (kind === 'ellipsoid') return normPart(model, subject.part);
  return kind === 'hull' ? attentionPart(model, subject) : mlpPart(model, subject.part);
}

async function expectModel(subject: ModelPart, model: ModelParameters | undefined): Promise<void> {
  const digest = await model?.digest();
  if (digest === subject.model) return;
  throw new InputError(
    `The certificate is about the model with digest ${subject.model}; ${digest ? `this is ${digest}` : 'none is given'}.`,
    'Give the model it was written for (--model).',
  );
}

function checkSeparation(certificate: SeparationCertificate, region: Region): Verdict {
  const { kind, subject, target, direction } = certificate;
  if (target.length !== region.width) {
    const widths = `The target of the certificate has ${target.length} numbers, the block returns ${region.width}.`;
    throw new FormatError(widths, 'Write the certificate again.');
  }
  const u = Float64Array.from(direction);
  const y = Float64Array.from(target);
  const numbers = separation(region, y, u);
  const { value, tolerance } = numbers;
  const share = (value - numbers.bound) / (length(y) || 1);
  const claim =
    `No input gives the target, ${target.length} numbers, at ${nameOf(subject)}: ${reasons[kind]}. Along the direction given` +
    `${region.detail ? ` (${region.detail(u)})` : ''} every output stays below ${short(numbers.bound)}, and the target ` +
    `is at ${short(value)}: farther by ${short(100 * share)} % of its length.`;
  const verdict = { kind, claim, numbers: { ...numbers, margin: value - numbers.bound } };

  const size = Math.abs(value) + Math.abs(numbers.bound) + tolerance;
  const changed = differing(certificate, numbers, { value: size, bound: size, tolerance });
  const reason =
    Math.abs(length(u) - 1) > SAME
      ? `The direction has length ${length(u)}, not 1: it was changed.`
      : (changed ??
        (separates(numbers)
          ? undefined
          : `The target does not lie beyond the outputs by more than ${short(tolerance)}, which rounding may explain.`));
  return { ...verdict, holds: reason === undefined, reason };
}

function checkDomination(certificate: DominationCertificate, head: Unembedding): Verdict {
  const { kind, subject, token, dominators } = certificate;
  const numbers = head.lead(token, dominators);
  const { lead, tolerance } = numbers;
  const shown = [...dominators].sort((a, b) => b.weight - a.weight).slice(0, 8);
  const rows = shown.map((part) => `${part.token} (${short(100 * part.weight)} %)`).join(', ');
  const more = dominators.length > shown.length ? ` and ${dominators.length - shown.length} more` : '';
  const claim =
    `Token ${token} is never strictly the most likely one at ${nameOf(subject)}: at every state a mixture of the rows ` +
    `of ${rows}${more} scores as high${lead > 0 ? `, to ${short(lead)} logits` : ''}, so one of them does.`;

  const total = dominators.reduce((sum, { weight }) => sum + weight, 0);
  const distinct = new Set([token, ...dominators.map((part) => part.token)]);
  const negative = dominators.find(({ weight }) => !(weight >= 0));
  const reason = negative
    ? `Row ${negative.token} has the weight ${negative.weight}: a mixture has none below 0.`
    : !(Math.abs(total - 1) <= SAME)
      ? `The weights add up to ${total}, not 1.`
      : distinct.size <= dominators.length
        ? 'A row occurs twice, or dominates itself.'
        : (differing(certificate, numbers, { lead: tolerance / SAME, tolerance }) ??
          (lead <= tolerance ? undefined : `The token is ahead of the mixture by up to ${short(lead)} logits.`));
  return { kind, claim, numbers: { ...numbers }, holds: reason === undefined, reason };
}

/** Says which of the numbers that a certificate states is another, if one is. @param size Of what each comes from. */
function differing<Name extends string>(
  stated: Readonly<Record<NoInfer<Name>, number>>,
  numbers: Readonly<Record<Name, number>>,
  size: Readonly<Record<Name, number>>,
): string | undefined {
  for (const name of Object.keys(numbers) as Name[]) {
    if (Math.abs(stated[name] - numbers[name]) <= SAME * size[name]) continue;
    return `The certificate states ${name} = ${stated[name]}; it is ${numbers[name]}. One of its numbers was changed.`;
  }
  return undefined;
}

const reasons: Readonly<Record<RegionKind, string>> = {
  ellipsoid: 'before gain and bias, what a LayerNorm returns has mean 0 and at most length sqrt(d)',
  hull: 'each head returns a mixture of the values it sees',
  bound: 'a LayerNorm bounds what the hidden units see',
  cone: 'the hidden units add up to a point of a cone',
};

function nameOf(subject: Subject): string {
  if ('block' in subject) return 'the block whose matrices it holds';
  const { model, part, prefix, values } = subject;
  const behind = prefix && `behind the ${prefix.length} tokens it names`;
  const given = values && 'behind the values it holds';
  return [`${part} of the model with digest ${model}`, behind ?? given].filter(Boolean).join(', ');
}

const short = (value: number): string => String(Number(value.toPrecision(4)));
