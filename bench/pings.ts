import { once } from 'node:events';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';

/**
 * Asks a runtime each 2 ms whether it lives, from a thread of its own. The longest time that an answer took is
 * about how long the runtime's event loop stood still. The kernel's scheduler is in the figure too, where more
 * threads want to run than there are cores: hence the same pings to the idle runtime beside it.
 */
export class Pings implements AsyncDisposable {
  readonly #worker: Worker;

  private constructor(worker: Worker) {
    this.#worker = worker;
  }

  static async open(port: number): Promise<Pings> {
    const worker = new Worker(join(import.meta.dirname, 'pings-worker.ts'), { workerData: { port } });
    await once(worker, 'message');
    return new Pings(worker);
  }

  /** The longest since the last call, one that is still waited for included. */
  async takeLongestMs(): Promise<number> {
    this.#worker.postMessage('take', []);
    const [longestMs] = (await once(this.#worker, 'message')) as [number];
    return longestMs;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#worker.terminate();
  }
}
