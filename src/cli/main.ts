import { Command } from 'commander';
import { addCertify } from './certify.ts';
import { addCollide } from './collide.ts';
import { addDemo } from './demo.ts';
import { fail, surviveLostOutput } from './failure.ts';
import { addGenerate } from './generate.ts';
import { addInfo } from './info.ts';
import { addInvert } from './invert.ts';
import { addLens } from './lens.ts';
import { addMargins } from './margins.ts';
import { packageVersion } from './package.ts';
import { addProbe } from './probe.ts';
import { addSelftest } from './selftest.ts';
import { addStates } from './states.ts';
import { addSweep } from './sweep.ts';
import { addTrain } from './train.ts';

const HELP = `
Start with:
  preimage demo
  preimage states "Any text of yours." --layer 3 -o s.safetensors
  preimage invert s.safetensors
  preimage probe --target "Any other text."

Exit codes: 0 done, 1 negative result, 2 bad input, 70 a bug of preimage,
130 stopped by Ctrl-C (129 by SIGHUP, 143 by SIGTERM; what is found is kept),
141 nobody reads the output.
Environment: PREIMAGE_ADAPTER, PREIMAGE_DEBUG, HF_TOKEN, HF_ENDPOINT, NO_COLOR,
XDG_CACHE_HOME (downloads and lenses are kept in its folder preimage).`;

const program = new Command('preimage')
  .description('Find the input: recover a prompt, exactly, from the hidden states of a language model.')
  .version(packageVersion())
  .showHelpAfterError('Run it with --help for the options.')
  .exitOverride()
  .addHelpText('after', HELP);

// Subcommands inherit the settings above.
addDemo(program);
addInfo(program);
addSelftest(program);
addGenerate(program);
addStates(program);
addInvert(program);
addSweep(program);
addProbe(program);
addCertify(program);
addCollide(program);
addMargins(program);
addLens(program);
addTrain(program);

surviveLostOutput();
try {
  await program.parseAsync();
} catch (error) {
  process.exitCode = fail(error, process.argv.includes('--json'));
}
