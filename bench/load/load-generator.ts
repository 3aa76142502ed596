import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { FromLoad, LoadOutcome, Target, ToLoad } from './messages.ts';

/** What `wait` may take at most. */
const OUTCOME_TIMEOUT_MS = 300_000;

/** A load generator in a process of its own. One load at a time; `await using` ends the process. */
export class LoadGenerator implements AsyncDisposable {
  readonly #child: ChildProcess;
  #outcome: Promise<LoadOutcome> | undefined;

  private constructor(child: ChildProcess) {
    this.#child = child;
  }

  static async open(): Promise<LoadGenerator> {
    const child = fork(join(import.meta.dirname, 'load-process.ts'), { serialization: 'advanced' });
    await once(child, 'message');
    return new LoadGenerator(child);
  }

  /** Starts a load and returns at once. */
  start(target: Target, how: { connections: number; ratePerSecond?: number; limit?: number }): void {
    this.#outcome = this.#nextOutcome();
    // Whoever waits for the outcome gets the error.
    this.#outcome.catch(() => undefined);
    this.#tell({ kind: 'start', target, ...how });
  }

  setConnections(count: number): void {
    this.#tell({ kind: 'connections', count });
  }

  /** Ends the load, once what is under way has been answered. */
  async stop(): Promise<LoadOutcome> {
    this.#tell({ kind: 'stop' });
    return this.wait();
  }

  /** Waits for a load that ends by itself. */
  async wait(): Promise<LoadOutcome> {
    if (this.#outcome === undefined) throw new Error('no load was started');
    return this.#outcome;
  }

  async runFor(
    durationMs: number,
    target: Target,
    how: { connections: number; ratePerSecond?: number },
  ): Promise<LoadOutcome> {
    this.start(target, how);
    await sleep(durationMs);
    return this.stop();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode !== null) return;
    const exited = once(this.#child, 'exit');
    this.#child.disconnect();
    await exited;
  }

  async #nextOutcome(): Promise<LoadOutcome> {
    const controller = new AbortController();
    const ended = once(this.#child, 'exit', { signal: controller.signal }).then(() => {
      throw new Error('the load generator ended by itself');
    });
    ended.catch(() => undefined);
    try {
      const told = once(this.#child, 'message', { signal: AbortSignal.timeout(OUTCOME_TIMEOUT_MS) });
      const [message] = (await Promise.race([told, ended])) as [FromLoad];
      if (message.kind !== 'outcome') throw new Error(`unexpected message ${message.kind}`);
      return message.outcome;
    } finally {
      controller.abort();
    }
  }

  #tell(message: ToLoad): void {
    this.#child.send(message);
  }
}

/** Throws when anything failed: a figure over requests of which some failed is no figure. */
export function mustSucceed(outcome: LoadOutcome): LoadOutcome {
  const failures = Object.entries(outcome.failed).map(([what, count]) => `${count} × ${what}`);
  if (failures.length > 0) throw new Error(`requests failed: ${failures.join(', ')}`);
  if (outcome.succeeded === 0) throw new Error('no request was answered');
  return outcome;
}
