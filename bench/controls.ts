import { cpus } from 'node:os';
import { fileURLToPath } from 'node:url';
import { folderSource } from '../src/io/folder.node.ts';
import { openModel } from '../src/model/load.ts';
import { headFor } from '../src/probe/certificates/check.ts';
import { modelControls, runControl } from '../src/probe/certificates/controls.ts';
import { certifyDominated } from '../src/probe/certificates/dominated.ts';
import { type ModelParameters, modelParameters } from '../src/probe/certificates/model-parts.ts';
import { table } from './adapter.ts';

/**
 * Certificates of non-reachability: targets that have one must get it, reachable targets must not, and each must pass
 * `preimage certify`.
 *
 *   node bench/run.mjs bench/controls.ts [model folder] [targets of each kind]
 *   node bench/run.mjs bench/controls.ts MODEL-FOLDER tokens    which of its tokens can never win
 */
export async function main([
  folder = fileURLToPath(new URL('../weights', import.meta.url)),
  count = '100',
]: readonly string[]): Promise<void> {
  const files = await openModel(folderSource(folder));
  const model = modelParameters(files);
  const machine = `${cpus().length} x ${cpus()[0]?.model}, Node ${process.versions.node}`;
  console.log(`${folder}; ${new Date().toISOString().slice(0, 10)}, float64 on the CPU, ${machine}\n`);
  if (count === 'tokens') await tokens(model);
  else await controls(model, Number(count));
  await files.checkpoint.close();
}

async function controls(model: ModelParameters, count: number): Promise<void> {
  const rows: (string | number)[][] = [];
  for await (const control of modelControls(model, { count })) {
    const started = performance.now();
    const { kind, name, certified, unreachable, wrong, reachable, accepted } = await runControl(control, model);
    const ms = (performance.now() - started) / (unreachable + reachable);
    const counts = [`${certified} of ${unreachable}`, `${accepted} of ${certified}`, `${wrong} of ${reachable}`];
    rows.push([kind, name, ...counts, ms.toFixed(0)]);
    console.error(rows.at(-1)?.join('  '));
  }
  const header = ['kind', 'targets', 'certified', 'accepted by certify', 'false, of reachable', 'ms a target'];
  console.log(table(header, rows));
}

/** Every token has a state at which it wins, or a proof that it never does. */
async function tokens(model: ModelParameters): Promise<void> {
  const head = await headFor({ model: await model.digest(), part: 'lm_head' }, model);
  const started = performance.now();
  const { vocabularySize } = model.config;
  const never: number[] = [];
  let [wins, undecided] = [0, 0];
  for (let token = 0; token < vocabularySize; token++) {
    if (head.search(token).state) wins++;
    else if (certifyDominated(head, token)) never.push(token);
    else undecided++;
  }
  const ms = (performance.now() - started) / vocabularySize;
  const header = ['tokens', 'win at a state found', 'can never win', 'undecided', 'ms a token'];
  console.log(table(header, [[vocabularySize, wins, never.length, undecided, ms.toFixed(0)]]));
  if (never.length > 0) console.log(`\nnever: ${never.join(' ')}`);
}
