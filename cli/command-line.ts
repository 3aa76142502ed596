import { Command } from 'commander';
import { addServeCommand } from './commands/serve.ts';
import { UsageError } from './serve/serve.ts';

/** Parses the arguments and runs the command that they name; sets the exit code. */
export async function runCommandLine(argv: readonly string[]): Promise<void> {
  const program = new Command('pilotlight')
    .description('Scale-to-zero inference: models that nobody calls cost nothing.')
    .showHelpAfterError('(--help shows what there is)');
  addServeCommand(program);
  try {
    await program.parseAsync([...argv]);
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    process.stderr.write(`pilotlight: ${error.message}\n`);
    process.exitCode = 1;
  }
}
