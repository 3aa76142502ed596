import { readFileSync } from 'node:fs';
import { Command, CommanderError } from 'commander';
import { PilotlightError } from '../contracts/errors.ts';
import { addCompileCommand } from './commands/compile.ts';
import { addInferCommand } from './commands/infer.ts';
import { addProfileCommand } from './commands/profile.ts';
import { addProgramCommands } from './commands/programs.ts';
import { addServeCommand } from './commands/serve.ts';
import { addStatusCommand } from './commands/status.ts';
import { addValidateCommand } from './commands/validate.ts';
import { addVerifyCommand } from './commands/verify.ts';
import { CommandFailure, EXIT, EXIT_CODES_HELP, UsageMistake } from './failure.ts';
import { UsageError } from './serve/serve.ts';
import { endQuietlyOnClosedPipe, errorStyle, note } from './terminal.ts';

/** Parses the arguments and runs the command that they name; sets the exit code. */
export async function runCommandLine(argv: readonly string[]): Promise<void> {
  endQuietlyOnClosedPipe();
  const program = createProgram();
  if (argv.length <= 2) {
    program.outputHelp({ error: true });
    process.exitCode = EXIT.usage;
    return;
  }
  try {
    await program.parseAsync([...argv]);
  } catch (error) {
    process.exitCode = explain(error);
  }
}

function createProgram(): Command {
  const program = new Command('pilotlight')
    .description('Scale-to-zero inference: models that nobody calls cost nothing.')
    .version(packageVersion(), '-V, --version', 'print the version')
    .exitOverride()
    .showHelpAfterError('(--help shows what there is)')
    .configureHelp({ helpWidth: 110 })
    .addHelpText(
      'after',
      `
Examples:
  pilotlight serve examples/ocr
  pilotlight infer vad examples/vad/requests/speech.json
  pilotlight status --watch
  pilotlight runtime --model model.onnx

"pilotlight COMMAND --help" shows the options of a command and more examples.
${EXIT_CODES_HELP}`,
    );
  addServeCommand(program);
  addStatusCommand(program);
  addInferCommand(program);
  addValidateCommand(program);
  addCompileCommand(program);
  addVerifyCommand(program);
  addProfileCommand(program);
  addProgramCommands(program);
  return program;
}

function packageVersion(): string {
  const file = new URL('../package.json', import.meta.url);
  return (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version;
}

/**
 * Says what went wrong. What a person can put right is said in one line; only what nobody foresaw has a stack.
 *
 * @returns the exit code.
 */
function explain(error: unknown): number {
  // commander has printed its own message already; help and version come here as well.
  if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : EXIT.usage;
  const isForeseen =
    error instanceof CommandFailure ||
    error instanceof UsageMistake ||
    error instanceof UsageError ||
    error instanceof PilotlightError;
  if (!isForeseen) throw error;
  note(`${errorStyle().red('pilotlight:')} ${error.message}`);
  return error instanceof UsageMistake ? EXIT.usage : EXIT.failed;
}
