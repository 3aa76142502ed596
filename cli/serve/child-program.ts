import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { z } from 'zod';
import type { Logger } from '../../process/logger.ts';

/** The line that each of our programs prints on standard output once it listens. */
const listeningSchema = z.object({ listening: z.record(z.string(), z.number().int()) });

const FIRST_RESTART_DELAY_MS = 100;
const LONGEST_RESTART_DELAY_MS = 5_000;
/** A program that ran this long had started well: its next restart is quick again. */
const STEADY_AFTER_MS = 10_000;

export interface ChildProgramOptions {
  name: string;
  /** Arguments for Node; called at each start, since a restart wants the ports of the first one. */
  argv: (ports: Readonly<Record<string, number>>) => readonly string[];
  env: NodeJS.ProcessEnv;
  logger: Logger;
  /** File descriptor for its log; by default this process's standard error. */
  logDescriptor?: number | undefined;
}

/**
 * One of the platform's programs as a child process that is started again when it ends without being asked
 * to, on the same ports, with a pause that doubles from 100 ms to 5 s.
 */
export class ChildProgram {
  readonly #options: ChildProgramOptions;
  #child: ChildProcess | undefined;
  #ports: Readonly<Record<string, number>> = {};
  #stopping = false;
  #restartDelayMs = FIRST_RESTART_DELAY_MS;
  #restartTimer: NodeJS.Timeout | undefined;

  constructor(options: ChildProgramOptions) {
    this.#options = options;
  }

  get pid(): number | undefined {
    return this.#child?.pid;
  }

  /**
   * Starts it for the first time.
   * @returns the ports that it listens on, by name.
   * @throws Error when it ends before it listens; what was wrong stands in its log.
   */
  async start(): Promise<Readonly<Record<string, number>>> {
    const listening = await this.#run();
    if (listening === undefined)
      throw new Error(`the ${this.#options.name} did not start; see its log above`);
    this.#ports = listening;
    return listening;
  }

  /** SIGTERM, and SIGKILL when it has not ended within `limitMs`. */
  async stop(limitMs: number): Promise<void> {
    this.#stopping = true;
    clearTimeout(this.#restartTimer);
    const child = this.#child;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const exited = once(child, 'exit');
    child.kill('SIGTERM');
    const kill = setTimeout(() => child.kill('SIGKILL'), limitMs);
    await exited;
    clearTimeout(kill);
  }

  /** Resolves with the ports once it listens, or with undefined when it ended before. */
  #run(): Promise<Readonly<Record<string, number>> | undefined> {
    const { name, argv, env, logger, logDescriptor } = this.#options;
    const startedAtMs = performance.now();
    // A process group of its own: Ctrl-C on the terminal reaches the parent alone, which stops its children in order.
    const child = spawn(process.execPath, argv(this.#ports), {
      stdio: ['ignore', 'pipe', logDescriptor ?? 'inherit'],
      env,
      detached: true,
    });
    this.#child = child;
    return new Promise((resolve) => {
      let listens = false;
      const { stdout } = child;
      if (stdout === null) throw new Error('standard output was asked for as a pipe');
      createInterface({ input: stdout }).on('line', (line) => {
        const ports = listeningPorts(line);
        if (ports === undefined) return;
        listens = true;
        resolve(ports);
      });
      child.once('error', (error) =>
        logger.error({ err: error, program: name }, 'a program could not be started'),
      );
      child.once('exit', (code, signal) => {
        resolve(undefined);
        if (this.#stopping) return;
        const first = Object.keys(this.#ports).length === 0;
        if (first && !listens) return;
        logger.error({ program: name, code, signal }, 'a program ended and is started again');
        if (performance.now() - startedAtMs > STEADY_AFTER_MS) this.#restartDelayMs = FIRST_RESTART_DELAY_MS;
        this.#restartTimer = setTimeout(() => void this.#run(), this.#restartDelayMs);
        this.#restartDelayMs = Math.min(this.#restartDelayMs * 2, LONGEST_RESTART_DELAY_MS);
      });
    });
  }
}

function listeningPorts(line: string): Readonly<Record<string, number>> | undefined {
  if (!line.startsWith('{"listening"')) return undefined;
  try {
    return listeningSchema.parse(JSON.parse(line)).listening;
  } catch {
    return undefined;
  }
}
