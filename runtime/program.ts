import { writeSync } from 'node:fs';
import { defaultCacheDir } from './cache-dir.ts';
import { exitAtOnce } from './engine/instance.ts';
import type { RunningRuntime } from './main.ts';
import { OptionError, parseOptions, type RuntimeOptions } from './options.ts';

/** Ports and workers, beyond the drain. */
const CLOSE_LIMIT_MS = 500;

/**
 * A runtime as a program: options from the command line, signals, exit codes (0 after a signal, 1 when the model
 * can't be loaded or a port can't be had, 2 for a mistake on the command line), and one line on standard output
 * once it listens.
 */
export async function runProgram(
  argv: readonly string[],
  run: (options: RuntimeOptions) => Promise<RunningRuntime>,
): Promise<void> {
  let running: RunningRuntime | undefined;
  let drainMs = 0;
  let stopping = false;
  const stop = (signal: NodeJS.Signals): void => {
    // A second one is from somebody who doesn't want to wait.
    if (stopping) exitAtOnce(130);
    stopping = true;
    setTimeout(() => exitAtOnce(1), drainMs + CLOSE_LIMIT_MS).unref();
    // While it starts there is nothing to drain: whatever is being loaded is of no use any more.
    if (running === undefined) exitAtOnce(signal === 'SIGTERM' ? 0 : 130);
    running.stop(drainMs).then(
      () => exitAtOnce(0),
      () => exitAtOnce(1),
    );
  };
  process.on('SIGTERM', stop);
  process.on('SIGINT', stop);
  try {
    const options = parseOptions(argv, defaultCacheDir(process.env));
    drainMs = options.drainMs;
    running = await run(options);
    const { port, grpcPort, adminPort } = running;
    say(JSON.stringify({ listening: { port, grpcPort, adminPort } }));
  } catch (error) {
    complain(`pilotlight runtime: ${error instanceof Error ? error.message : String(error)}`);
    exitAtOnce(error instanceof OptionError ? 2 : 1);
  }
}

/** Straight to the descriptor: `process.stdout` would be opened for one line, and nobody may listen at its end. */
function say(line: string): void {
  try {
    writeSync(1, `${line}\n`);
  } catch {
    // Standard output is closed; the record file and the ports tell the same.
  }
}

function complain(line: string): void {
  try {
    writeSync(2, `${line}\n`);
  } catch {
    // As above: the exit code has to do.
  }
}
