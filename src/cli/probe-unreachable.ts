import { writeFileAtomic } from '../io/folder.node.ts';
import type { ModelFiles } from '../model/load.ts';
import { checkCertificate, headFor, regionFor } from '../probe/certificates/check.ts';
import { certifyDominated } from '../probe/certificates/dominated.ts';
import type { ModelParameters } from '../probe/certificates/model-parts.ts';
import { certify } from '../probe/certificates/separation.ts';
import type { Certificate } from '../probe/certificates/types.ts';
import type { GoalTask } from './probe-goal.ts';
import { EXIT } from './session.ts';
import { columns, paint, print, printJson } from './terminal.ts';
import { counted, printable, quoted, wrap } from './text.ts';

/** A target that no input reaches, and the proof. */
export interface Unreachable {
  readonly name: string;
  readonly certificate: Certificate;
}

/** The first states after `ln_f` that lie outside of what it returns. */
export async function unreachableStates(model: ModelParameters, tasks: readonly GoalTask[]): Promise<Unreachable[]> {
  const region = await regionFor('ellipsoid', { model: await model.digest(), part: 'ln_f' }, model);
  return tasks.flatMap(({ name, targets }) =>
    targets.flatMap((target, i) => {
      const certificate = certify(region, target);
      return certificate ? [{ name: targets.length > 1 ? `${name}[${i}]` : name, certificate }] : [];
    }),
  );
}

/** The tokens of a text that are never the likeliest. */
export async function unreachableTokens(model: ModelParameters, text: Uint32Array): Promise<Unreachable[]> {
  const head = await headFor({ model: await model.digest(), part: 'lm_head' }, model);
  return [...new Set(text)].flatMap((token) => {
    const certificate = certifyDominated(head, token);
    return certificate ? [{ name: `token ${token}`, certificate }] : [];
  });
}

/**
 * Says that targets cannot be reached, and saves the proof of the first of them.
 * @returns The exit code.
 */
export async function tellUnreachable(
  found: readonly Unreachable[],
  files: ModelFiles,
  params: ModelParameters,
  options: { readonly certificate?: string; readonly json?: boolean; readonly quiet?: boolean },
): Promise<number> {
  const [{ name, certificate }] = found;
  const { claim } = await checkCertificate(certificate, params);
  if (options.json) {
    for (const one of found) printJson({ name: one.name, unreachable: true, certificate: one.certificate });
  } else if (options.quiet) {
    for (const one of found) print(`${printable(one.name)} unreachable`);
  } else {
    print(`${paint('red', 'UNREACHABLE')}: ${printable(titleOf(name, certificate, files))}`);
    print();
    print(wrap(printable(claim), columns(), '  '));
    for (const line of rowLines(certificate, files)) print(wrap(printable(line), columns(), '  '));
    print();
    if (found.length > 1) print(wrap(`So are ${others(found.slice(1))}.`, columns(), '  '));
    const saved = options.certificate;
    const next =
      saved === undefined
        ? 'Save the proof with --certificate file.json: "preimage certify" checks it without the solver.'
        : `The proof is in ${printable(saved)}: "preimage certify" checks it without the solver.`;
    print(wrap(next, columns(), '  '));
  }
  if (options.certificate !== undefined) {
    await writeFileAtomic(options.certificate, new TextEncoder().encode(`${JSON.stringify(certificate)}\n`));
  }
  return EXIT.negative;
}

const MOST_NAMES = 8;

function others(found: readonly Unreachable[]): string {
  const names = found.slice(0, MOST_NAMES).map(({ name }) => printable(name));
  return found.length > MOST_NAMES ? `${names.join(', ')} and ${found.length - MOST_NAMES} more` : names.join(', ');
}

const titleOf = (name: string, certificate: Certificate, { tokenizer }: ModelFiles): string =>
  certificate.kind === 'dominated' && tokenizer ? `${name}, ${quoted(tokenizer.token(certificate.token))}` : name;

/** The rows that dominate a token, by their texts. */
function rowLines(certificate: Certificate, { tokenizer }: ModelFiles): string[] {
  if (certificate.kind !== 'dominated' || !tokenizer) return [];
  const shown = certificate.dominators.toSorted((a, b) => b.weight - a.weight).slice(0, MOST_NAMES);
  const names = shown.map(
    ({ token, weight }) => `${quoted(tokenizer.token(token), true)} ${(100 * weight).toFixed(1)} %`,
  );
  return [`The rows are those of ${counted(certificate.dominators.length, 'token')}: ${names.join(', ')}.`];
}
