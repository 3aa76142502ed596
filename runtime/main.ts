import { enableCompileCache } from 'node:module';
import { fileURLToPath } from 'node:url';
import type { RuntimeOptions } from './options.ts';

/**
 * Before anything is imported: afterwards imports of this program are read compiled. And before anything can
 * change it: the environment that a recycled process starts with, so that nothing that was set inside one
 * incarnation lives on in the next.
 */
enableCompileCache();
// ONNX Runtime sends usage data to its maker unless this is set, and leaves a file in the temporary folder for each
// process. Read when its library is loaded; who wants it sent sets 0.
process.env['ORT_DISABLE_TELEMETRY'] ??= '1';
const environment: Readonly<Record<string, string | undefined>> = Object.freeze({ ...process.env });

/** A runtime that listens. */
export interface RunningRuntime {
  readonly port: number;
  readonly grpcPort: number | undefined;
  readonly adminPort: number | undefined;
  /** Drains for up to `drainMs`, then closes the ports and ends the workers. */
  stop(drainMs: number): Promise<void>;
}

/**
 * Starts a runtime in this process: a standby, or a model server on its own. Resolves once the ports listen and,
 * for a server on its own, the model is loaded and warmed.
 *
 * @throws PilotlightError when the model can't be loaded; Error with code EADDRINUSE or EACCES for a port;
 *   OptionError when nothing guards an admin port: neither PILOTLIGHT_ADMIN_TOKEN nor, in a pod, PILOTLIGHT_ADMIN_PUBLIC_KEY.
 */
export async function runRuntime(options: RuntimeOptions): Promise<RunningRuntime> {
  const { startRuntime } = await import('./start.ts');
  return startRuntime(options, { environment, mainPath: fileURLToPath(import.meta.url) });
}

/** The program: `node runtime/main.ts --standby …` or `node runtime/main.ts --model URI …`. */
async function main(argv: readonly string[]): Promise<void> {
  const { runProgram } = await import('./program.ts');
  await runProgram(argv, runRuntime);
}

if (process.argv[1] !== undefined && import.meta.filename === process.argv[1]) {
  await main(process.argv.slice(2));
}
