import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { waitFor } from '../../e2e/local/testing/wait-for.ts';
import { pythonEnvironment } from '../../e2e/python-environment.ts';

const READY_TIMEOUT_MS = 120_000;
/** What a server has to end by itself before it is killed. */
const STOP_TIMEOUT_MS = 10_000;
/** Of what a server says, so much is kept for the error when it doesn't start. */
const KEPT_CHARACTERS = 4_000;
const MODEL_NAME = 'network';

/** A server in Python with one model, which ends with its scope. */
export interface PythonServer extends AsyncDisposable {
  readonly port: number;
}

export type PythonServerKind = 'fastapi' | 'mlserver' | 'kserve';

interface Launch {
  readonly args: readonly string[];
  readonly readyPath: string;
  readonly env?: Readonly<Record<string, string>>;
}

/** Ports that nobody listened at a moment ago: these servers can't be asked which one they took. */
interface Ports {
  readonly http: number;
  readonly grpc: number;
  readonly metrics: number;
}

/** Arguments as one would type them. */
const typed = (line: string): string[] => line.split(' ');

/** How each is started: with as many workers as there are cores, quiet, and for the rest as it comes. */
const LAUNCHES: Readonly<
  Record<PythonServerKind, (ports: Ports, workers: number, folder: string) => Launch>
> = {
  fastapi: ({ http }, workers) => ({
    args: [
      ...typed(`-m uvicorn server:app --host 127.0.0.1 --port ${http} --workers ${workers}`),
      ...typed('--loop uvloop --http httptools --no-access-log --log-level warning --app-dir'),
      join(import.meta.dirname, 'fastapi'),
    ],
    readyPath: '/ready',
  }),
  mlserver: (ports, workers, folder) => {
    const settings = {
      debug: false,
      host: '127.0.0.1',
      http_port: ports.http,
      grpc_port: ports.grpc,
      metrics_port: ports.metrics,
      parallel_workers: workers,
    };
    const modelSettings = { name: MODEL_NAME, implementation: 'model.OnnxModel' };
    writeFileSync(join(folder, 'settings.json'), JSON.stringify(settings));
    writeFileSync(join(folder, 'model-settings.json'), JSON.stringify(modelSettings));
    return {
      args: ['-c', 'from mlserver.cli import main; main()', 'start', folder],
      readyPath: `/v2/models/${MODEL_NAME}/ready`,
      env: { PYTHONPATH: join(import.meta.dirname, 'mlserver') },
    };
  },
  kserve: ({ http }, workers) => ({
    args: [
      join(import.meta.dirname, 'kserve', 'server.py'),
      ...typed(`--http_port ${http} --workers ${workers} --enable_grpc false`),
    ],
    readyPath: `/v2/models/${MODEL_NAME}/ready`,
  }),
};

/**
 * Starts a server with the model at `modelPath` and waits until it says that the model is ready. Its packages are
 * installed first where they aren't yet.
 *
 * @param folder for what it writes; one for each server.
 * @throws Error with what it said when it ends before, or isn't ready in two minutes.
 */
export async function startPythonServer(
  kind: PythonServerKind,
  modelPath: string,
  folder: string,
  say: (line: string) => void,
): Promise<PythonServer> {
  const requirements = join(import.meta.dirname, kind, 'requirements.txt');
  const python = await pythonEnvironment('bench-python', requirements, say);
  mkdirSync(folder, { recursive: true });
  const ports = { http: await freePort(), grpc: await freePort(), metrics: await freePort() };
  const { args, readyPath, env } = LAUNCHES[kind](ports, availableParallelism(), folder);
  const child = spawn(python, args, {
    cwd: folder,
    // A group of its own: whatever workers it has end with it.
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, PYTHONDONTWRITEBYTECODE: '1', MODEL: modelPath, ...env },
  });
  let said = '';
  const keep = (chunk: Buffer): void => {
    said = (said + chunk.toString()).slice(-KEPT_CHARACTERS);
  };
  child.stdout.on('data', keep);
  child.stderr.on('data', keep);
  const exited = once(child, 'exit');
  const isOver = (): boolean => child.exitCode !== null || child.signalCode !== null;
  const stop = async (): Promise<void> => {
    child.kill('SIGTERM');
    if (!isOver()) await Promise.race([exited, sleep(STOP_TIMEOUT_MS, undefined, { ref: false })]);
    killGroup(child.pid);
    await exited;
  };
  // The system ends nobody's children: without this they would outlive a benchmark that is interrupted.
  const killAtExit = (): void => killGroup(child.pid);
  process.once('exit', killAtExit);
  try {
    const ready = `http://127.0.0.1:${ports.http}${readyPath}`;
    await waitFor(
      `${kind} is ready`,
      async () => isOver() || (await fetch(ready)).status === 200,
      READY_TIMEOUT_MS,
    );
    if (isOver()) throw new Error(`it ended with ${child.exitCode ?? child.signalCode}`);
  } catch (error) {
    await stop();
    throw new Error(`${kind} did not start: ${said}`, { cause: error });
  }
  return {
    port: ports.http,
    [Symbol.asyncDispose]: async () => {
      await stop();
      process.off('exit', killAtExit);
    },
  };
}

function killGroup(pid: number | undefined): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, 'SIGKILL');
  } catch {
    // Nobody of it is left.
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  if (address === null || typeof address === 'string') throw new Error('expected an address with a port');
  return address.port;
}
