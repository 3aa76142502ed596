import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { compileCacheEnvironment } from '../../../process/compile-cache.ts';
import { NODE_FLAGS, RUNTIME_ENVIRONMENT } from '../../../process/node-flags.ts';

const MAIN = fileURLToPath(new URL('../../../runtime/main.ts', import.meta.url));

/** A runtime in a process of its own. */
export interface RuntimeProcess {
  readonly child: ChildProcess;
  readonly port: number;
  readonly grpcPort: number;
  /** 0 without one. */
  readonly adminPort: number;
  /** Its log so far, warnings and worse, or more where it was asked to tell. */
  said(): string;
  /** SIGTERM, and the exit code. */
  stop(): Promise<number | null>;
}

/**
 * Starts `runtime/main.ts --model …` and waits until its model is loaded.
 *
 * @throws Error with what it said when it ends before.
 */
export function startRuntime(
  modelPath: string,
  cacheDir: string,
  ...more: string[]
): Promise<RuntimeProcess> {
  return start(['--model', modelPath, '--cache-dir', cacheDir, ...more], {});
}

/** The same with all that it logs in `said()`. */
export function startTellingRuntime(modelPath: string, cacheDir: string): Promise<RuntimeProcess> {
  return start(['--model', modelPath, '--cache-dir', cacheDir], { PILOTLIGHT_LOG_LEVEL: 'info' });
}

/** Starts `runtime/main.ts --standby` and waits until it listens. */
export function startStandby(cacheDir: string, adminToken: string): Promise<RuntimeProcess> {
  return start(['--standby', '--admin-port', '0', '--cache-dir', cacheDir], {
    PILOTLIGHT_ADMIN_TOKEN: adminToken,
  });
}

async function start(more: string[], environment: Record<string, string>): Promise<RuntimeProcess> {
  const child = spawn(
    process.execPath,
    [...NODE_FLAGS.runtime, MAIN, '--port', '0', '--grpc-port', '0', ...more],
    {
      stdio: ['ignore', 'pipe', 'pipe'],
      // As the platform starts it: its sources come compiled.
      env: {
        ...compileCacheEnvironment(),
        ...RUNTIME_ENVIRONMENT,
        ...process.env,
        PILOTLIGHT_LOG_LEVEL: 'warn',
        ...environment,
      },
    },
  );
  const exited = once(child, 'exit');
  let said = '';
  child.stderr.on('data', (chunk: Buffer) => {
    said += chunk.toString();
  });
  const line = await new Promise<string>((resolve, reject) => {
    let out = '';
    child.stdout.on('data', (chunk: Buffer) => {
      out += chunk.toString();
      if (out.includes('\n')) resolve(out.slice(0, out.indexOf('\n')));
    });
    child.once('exit', (code) => reject(new Error(`the runtime ended with ${code}: ${said}`)));
  });
  const { listening } = JSON.parse(line) as {
    listening: { port: number; grpcPort: number; adminPort?: number };
  };
  return {
    child,
    port: listening.port,
    grpcPort: listening.grpcPort,
    adminPort: listening.adminPort ?? 0,
    said: () => said,
    stop: async () => {
      if (child.exitCode === null && child.signalCode === null) child.kill('SIGTERM');
      await exited;
      return child.exitCode;
    },
  };
}
