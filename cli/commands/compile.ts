import type { Command } from 'commander';
import { type CompileResult, compileResultSchema } from '../../contracts/model-tools.ts';
import { formatBytes, formatMs } from '../core/units.ts';
import { EXIT_CODES_HELP } from '../failure.ts';
import { outputStyle, printLine, withSteps } from '../terminal.ts';
import { runTool } from '../tool-process.ts';

interface CompileFlags {
  to?: string;
  cacheDir?: string;
  json?: true;
}

/** `pilotlight compile URI`: ahead of time what a runtime does on its first sight of a model. */
export function addCompileCommand(program: Command): void {
  program
    .command('compile')
    .description('make the form of a model that starts fastest, and put it beside the model')
    .argument('<uri>', 'file, folder, file:, http(s):, s3:, gs: or abfss: URI of an ONNX model')
    .option(
      '--to <uri>',
      'folder or s3: prefix to write the model and its form to (default: beside the model)',
    )
    .option('--cache-dir <dir>', 'where fetched models are cached (default: ~/.cache/pilotlight/models)')
    .option('--json', 'print the result as JSON')
    .addHelpText(
      'after',
      `
The graph is optimised once, its weights are put where they can be mapped, and int8 weights are prepacked.
The result is tried before it is written, and lies in the hidden folder .pilotlight beside the model. A runtime
that finds one there that fits its own ONNX Runtime and CPU fetches that and nothing else; one that doesn't fit
is left alone, and the log says what differs. Compile where the CPUs are those of the cluster's nodes; forms
for several kinds of machine lie side by side.

S3 credentials are read from AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_REGION. HTTP, Google's and
Azure's stores are only read: write to a folder with --to, and copy its .pilotlight beside the model.

Examples:
  pilotlight compile models/resnet.onnx
  pilotlight compile s3://models/resnet/
  pilotlight compile s3://models/resnet/ --to image/models/resnet

${EXIT_CODES_HELP}`,
    )
    .action(async (uri: string, flags: CompileFlags) => {
      const result = compileResultSchema.parse(
        await withSteps((progress) =>
          runTool(
            {
              tool: 'compile',
              uri,
              ...(flags.to === undefined ? {} : { to: flags.to }),
              ...(flags.cacheDir === undefined ? {} : { cacheDir: flags.cacheDir }),
            },
            progress,
          ),
        ),
      );
      await printLine(flags.json === true ? JSON.stringify(result) : resultText(result));
    });
}

const KINDS = {
  optimised: 'optimised, weights outside',
  prepacked: 'optimised, weights outside and prepacked',
};

function resultText(result: CompileResult): string {
  if (result.outcome === 'not-needed') return `nothing to compile: ${result.reason}`;
  const style = outputStyle();
  const what = result.isNew
    ? `compiled in ${formatMs(result.elapsedMs)}`
    : 'compiled before, and as it should be';
  return [
    `${style.green(what)}: ${KINDS[result.kind]}`,
    `  ${result.place}`,
    `  ${formatBytes(result.sizeBytes)}, of a model of ${formatBytes(result.originalBytes)}${result.copiedOriginal ? ', which was written as well' : ''}`,
    style.dim(`  fits the model sha256:${result.sha256}`),
    style.dim(`  with ONNX Runtime ${result.onnxRuntime} on ${result.cpu}`),
  ].join('\n');
}
