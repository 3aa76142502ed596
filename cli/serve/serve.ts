import { randomBytes } from 'node:crypto';
import { mkdirSync, statSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { commandFlags } from '../../process/command-flags.ts';
import { compileCacheEnvironment } from '../../process/compile-cache.ts';
import { freePort, tryPort } from '../../process/free-port.ts';
import { holdLifeline, socketPath } from '../../process/lifeline.ts';
import type { Logger } from '../../process/logger.ts';
import { NODE_FLAGS } from '../../process/node-flags.ts';
import { ChildProgram } from './child-program.ts';

/** Both together stay below the 5 s within which everything has ended after SIGTERM. */
const ACTIVATOR_STOP_MS = 2_200;
const CONTROLLER_STOP_MS = 2_600;

export interface ServeOptions {
  /** Folder of manifests. */
  dir: string;
  host: string;
  /** Where requests come in; 0 takes any free port. */
  port: number;
  apiPort: number;
  stateDir?: string;
  cacheDir?: string;
  cacheMaxBytes: number;
  standbys: number;
  /** How long only the same service may take a recycled standby; the controller's default when absent. */
  quarantineMs?: number;
  /** Namespaces whose services may run code of their own, with commas; `*`: all. */
  allowTransforms?: string;
  logger: Logger;
  /** File descriptor for the logs of all programs; by default this process's standard error. */
  logDescriptor?: number;
}

export interface LocalPlatform {
  url: string;
  apiUrl: string;
  pids(): { controller: number | undefined; activator: number | undefined };
  stop(): Promise<void>;
}

/** A mistake of the person who typed the command: shown as it is, without a stack. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

const defaultStateDir = (dir: string): string => join(resolve(dir), '.pilotlight');

function defaultCacheDir(): string {
  return join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'pilotlight', 'models');
}

/**
 * Runs the whole platform on this machine: the controller on a folder of manifests, an activator, and the
 * runtimes that the controller starts. This process is the lifeline of all of them.
 *
 * @throws UsageError when the folder isn't there, is served already, or a port is taken.
 */
export async function serve(options: ServeOptions): Promise<LocalPlatform> {
  const dir = resolve(options.dir);
  if (!statSync(dir, { throwIfNoEntry: false })?.isDirectory()) {
    throw new UsageError(`"${options.dir}" is no folder: give the folder that holds your manifests`);
  }
  const stateDir = resolve(options.stateDir ?? defaultStateDir(dir));
  const cacheDir = resolve(options.cacheDir ?? defaultCacheDir());
  makeFolder(stateDir);
  makeFolder(cacheDir);
  await needPort(options.host, options.port, '--port');
  await needPort('127.0.0.1', options.apiPort, '--api-port');
  const lifeline = await holdLifeline(socketPath(stateDir, 'serve')).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'EADDRINUSE') throw error;
    throw new UsageError(
      `"${options.dir}" is served already by another process: stop it first, or give another --state-dir`,
    );
  });

  // The controller tells people the URL of the activator, which starts after it.
  const requestPort = options.port === 0 ? await freePort(options.host) : options.port;
  const token = randomBytes(24).toString('base64url');
  const env = { ...compileCacheEnvironment(), ...process.env, PILOTLIGHT_ACTIVATOR_TOKEN: token };
  const { logDescriptor } = options;
  const program = (room: string): string => join(import.meta.dirname, '../..', room, 'main.ts');

  const controller = new ChildProgram({
    name: 'controller',
    env,
    logger: options.logger,
    logDescriptor,
    argv: (ports) => [
      program('controller'),
      ...commandFlags({
        dir,
        'state-dir': stateDir,
        'cache-dir': cacheDir,
        'cache-max-bytes': options.cacheMaxBytes,
        standbys: options.standbys,
        ...(options.quarantineMs !== undefined && { 'quarantine-ms': options.quarantineMs }),
        ...(options.allowTransforms !== undefined && { 'allow-transforms': options.allowTransforms }),
        'api-port': ports['apiPort'] ?? options.apiPort,
        'url-port': requestPort,
        lifeline: lifeline.path,
      }),
    ],
  });
  let controllerUrl = '';
  const activator = new ChildProgram({
    name: 'activator',
    env,
    logger: options.logger,
    logDescriptor,
    argv: (ports) => [
      ...NODE_FLAGS.activator,
      program('activator'),
      ...commandFlags({
        host: options.host,
        port: requestPort,
        controller: controllerUrl,
        'metrics-port': ports['metricsPort'] ?? 0,
        'drain-ms': ACTIVATOR_STOP_MS - 300,
        lifeline: lifeline.path,
      }),
    ],
  });

  const stop = async (): Promise<void> => {
    // The activator first: requests that it still holds may need the controller to start their model.
    await activator.stop(ACTIVATOR_STOP_MS);
    await controller.stop(CONTROLLER_STOP_MS);
    await lifeline.close();
  };
  try {
    const { apiPort } = await controller.start();
    controllerUrl = `http://127.0.0.1:${apiPort}`;
    const { port } = await activator.start();
    const platform = { url: `http://${options.host}:${port}`, apiUrl: controllerUrl };
    writeFileSync(join(stateDir, 'serve.json'), `${JSON.stringify({ ...platform, pid: process.pid })}\n`);
    return { ...platform, pids: () => ({ controller: controller.pid, activator: activator.pid }), stop };
  } catch (error) {
    await stop();
    throw error instanceof Error ? new UsageError(error.message) : error;
  }
}

/** Said before anything is started, in one line of its own. */
async function needPort(host: string, port: number, flag: string): Promise<void> {
  await tryPort(host, port).catch((error: NodeJS.ErrnoException) => {
    const why = error.code === 'EADDRINUSE' ? 'is in use' : `can't be had (${error.code})`;
    throw new UsageError(`port ${port} of ${host} ${why}: choose another with ${flag}`);
  });
}

function makeFolder(path: string): void {
  try {
    mkdirSync(path, { recursive: true, mode: 0o700 });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw new UsageError(
      `the folder "${path}" can't be made (${code}): choose another with --state-dir or --cache-dir`,
    );
  }
}
