import { Instance } from './instance.ts';

/**
 * Workers that are started ahead of the model, so that a claim finds ONNX Runtime loaded. One that died while
 * it waited is passed over.
 */
export class WorkerReserve {
  readonly #ready: Instance[] = [];

  /** Starts `count` workers; they load on their own threads. */
  start(count: number): void {
    while (this.#ready.length < count) this.#ready.push(new Instance());
  }

  /** Resolves once every worker in the reserve can take a model. @throws PilotlightError when one can't start. */
  async started(): Promise<void> {
    await Promise.all(this.#ready.map((instance) => instance.started()));
  }

  /** A worker of the reserve, or a new one when there is none. */
  take(): Instance {
    for (let instance = this.#ready.shift(); instance !== undefined; instance = this.#ready.shift()) {
      if (!instance.lost) return instance;
    }
    return new Instance();
  }

  /** All that are left, which the caller then owns. */
  takeAll(): Instance[] {
    return this.#ready.splice(0).filter((instance) => !instance.lost);
  }
}
