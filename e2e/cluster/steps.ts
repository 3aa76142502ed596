import { appendFileSync, mkdirSync, rmSync } from 'node:fs';
import { dirname } from 'node:path';
import { type CommandOptions, run } from './command.ts';
import { ClusterError } from './errors.ts';
import { cacheFolder } from './folders.ts';

/** Runs a command with everything it says in the step's log. */
export type RunInStep = (
  file: string,
  commandArguments: readonly string[],
  options?: Omit<CommandOptions, 'logFile'>,
) => Promise<string>;

export interface Step {
  readonly run: RunInStep;
  /** Adds a line to the step's log. */
  readonly note: (line: string) => void;
  readonly logFile: string;
}

/** Says a line to the person at the terminal. Standard output stays free for what a command is asked to print. */
export function say(line: string): void {
  process.stderr.write(`${line}\n`);
}

/**
 * Does one step of the work and says a line when it is done, with its time. What its commands say goes to a file
 * of the step's own, whose path is printed only when the step fails.
 *
 * @param title in the past or as a thing: it is printed once the step is done ("Debian packages installed")
 * @param usually said at once for a step that takes long, so that nobody wonders ("about 4 minutes")
 * @throws ClusterError with the step's title, the cause and the path of the log
 */
export async function step<T>(
  title: string,
  action: (step: Step) => Promise<T>,
  usually?: string,
): Promise<T> {
  const logFile = cacheFolder('logs', `${title.toLowerCase().replaceAll(/[^a-z0-9.]+/g, '-')}.log`);
  mkdirSync(dirname(logFile), { recursive: true });
  rmSync(logFile, { force: true });
  const startedMs = performance.now();
  if (usually !== undefined) say(`  … ${title}, ${usually}`);
  try {
    const result = await action({
      run: (file, commandArguments, options = {}) => run(file, commandArguments, { ...options, logFile }),
      note: (line) => appendFileSync(logFile, `${line}\n`),
      logFile,
    });
    say(`  ✓ ${title} (${((performance.now() - startedMs) / 1000).toFixed(1)} s)`);
    return result;
  } catch (error) {
    const code = error instanceof ClusterError ? error.code : 'E2E_STEP_FAILED';
    const reason = error instanceof Error ? error.message : String(error);
    say(`  ✗ ${title} (${((performance.now() - startedMs) / 1000).toFixed(1)} s)`);
    throw new ClusterError(
      code === 'E2E_COMMAND_FAILED' ? 'E2E_STEP_FAILED' : code,
      `${title}: ${reason}\nThe whole log: ${logFile}`,
      { cause: error },
    );
  }
}

/**
 * Runs the main function of a program: prints what it returns to standard output, an expected error as its
 * sentence alone.
 */
export async function program(main: () => Promise<string | undefined>): Promise<void> {
  try {
    const result = await main();
    if (result !== undefined) process.stdout.write(`${result}\n`);
  } catch (error) {
    say(error instanceof ClusterError ? `${error.code}: ${error.message}` : String((error as Error).stack));
    process.exitCode = 1;
  }
}
