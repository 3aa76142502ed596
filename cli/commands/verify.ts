import { type Command, InvalidArgumentError } from 'commander';
import { type CompareResult, compareResultSchema } from '../../contracts/model-tools.ts';
import { DEFAULT_AGREEMENT, judge, toleranceOf, type Verdict } from '../../contracts/parity-verdict.ts';
import { PARITY_HEAD, parityRow } from '../core/parity-report.ts';
import { plainTable } from '../core/plain-table.ts';
import { plural } from '../core/units.ts';
import { EXIT } from '../failure.ts';
import { findSamples } from '../samples.ts';
import { note, outputStyle, printLine, withSteps } from '../terminal.ts';
import { runTool } from '../tool-process.ts';

interface VerifyFlags {
  samples?: string;
  tolerance: number;
  agreement?: number;
  cacheDir?: string;
  json?: true;
}

/** Fused, prepacked and compiled kernels add in another order: that is far below this; a quantised model needs more. */
const DEFAULT_TOLERANCE = 0.01;

/** `pilotlight verify ORIGINAL CANDIDATE`: whether one model may stand for another. */
export function addVerifyCommand(program: Command): void {
  program
    .command('verify')
    .description('run two models on the same samples and tell what their outputs differ by')
    .argument('<original>', 'path or URI of the model that is right')
    .argument('<candidate>', 'path or URI of the one to compare: quantised, compiled, retrained')
    .option('--samples <path>', '.json request, .npy array, or a folder of them (default: made-up inputs)')
    .option(
      '--tolerance <share>',
      'largest error allowed, relative to the largest value of the output',
      share,
      DEFAULT_TOLERANCE,
    )
    .option('--agreement <share>', 'least share of rows whose largest score stands at the same place', share)
    .option('--cache-dir <dir>', 'where fetched models are cached (default: ~/.cache/pilotlight/models)')
    .option('--json', 'print the report as JSON')
    .addHelpText(
      'after',
      `
A folder of samples holds .json requests ({"inputs": …}), .npy arrays for a model with one input, and folders
with NAME.npy for each input. Without samples eight inputs are made up from the shapes: enough to see that a
model is broken, and no measure of one that is fed with real data.

Errors are relative to the largest value of the output in the same sample. Outputs that are no floats are
compared element by element; ${DEFAULT_AGREEMENT * 100} % must agree unless --agreement says otherwise. Of scores (batch × classes) it is
reported how often both models choose the same class; --agreement makes that a condition.

Examples:
  pilotlight verify resnet.onnx resnet.int8.onnx --samples samples/ --tolerance 0.1 --agreement 0.99
  pilotlight verify s3://models/resnet/1 s3://models/resnet/2 --samples request.json --json

Exit codes: 0 within the tolerance, 1 beyond it or failed, 2 wrong options or arguments.`,
    )
    .action(async (original: string, candidate: string, flags: VerifyFlags) => {
      const samples = flags.samples === undefined ? [] : await findSamples(flags.samples);
      const result = compareResultSchema.parse(
        await withSteps((progress) =>
          runTool(
            {
              tool: 'compare',
              original,
              candidate,
              samples,
              ...(flags.cacheDir === undefined ? {} : { cacheDir: flags.cacheDir }),
            },
            progress,
          ),
        ),
      );
      const tolerance = toleranceOf(flags.tolerance, flags.agreement);
      const verdict = judge(result, tolerance);
      await (flags.json === true
        ? printLine(JSON.stringify({ ...result, tolerance, ...verdict }))
        : printReport(result, verdict));
      if (!verdict.isWithin) process.exitCode = EXIT.failed;
    });
}

async function printReport(result: CompareResult, { isWithin, reasons }: Verdict): Promise<void> {
  const style = outputStyle();
  const rows = result.outputs.map(parityRow);
  const aligns = PARITY_HEAD.map((_title, index) => (index < 2 ? 'left' : 'right'));
  for (const line of plainTable(PARITY_HEAD, rows, aligns, style)) await printLine(line);
  await printLine('');
  for (const reason of reasons) await printLine(style.red(reason));
  const on = result.isGenerated
    ? plural(result.samples, 'generated input')
    : plural(result.samples, 'sample');
  await printLine(
    isWithin ? style.green(`within the tolerance on ${on}`) : style.red(`beyond the tolerance on ${on}`),
  );
  if (result.isGenerated) note('inputs were made up from the shapes; --samples compares on real ones');
}

/** A share: `0.01`, or `1%`. */
function share(text: string): number {
  const value = /^\d+(\.\d+)?(e-\d+)?$/.test(text)
    ? Number(text)
    : /^\d+(\.\d+)?%$/.test(text)
      ? Number(text.slice(0, -1)) / 100
      : Number.NaN;
  if (value >= 0 && value <= 1) return value;
  throw new InvalidArgumentError(`expected a share from 0 to 1, or a percentage such as 1%, got "${text}"`);
}
