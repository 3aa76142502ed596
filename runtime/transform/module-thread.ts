import { Worker } from 'node:worker_threads';
import { PilotlightError } from '../../contracts/errors.ts';
import type { FromModule, Hook, ToModule } from './messages.ts';

export interface ModuleSource {
  /** As it is shown in messages. */
  name: string;
  /** Text of the module, checked. */
  source: string;
}

/** What a module exports. */
export interface ModuleExports {
  hooks: readonly Hook[];
  rawContentTypes: readonly string[];
}

const BOOTSTRAP = `require('node:module').enableCompileCache();
import(${JSON.stringify(new URL('./module-worker.ts', import.meta.url).href)});`;

const MIB = 1024 ** 2;
/** Of the thread's heap for what dies young; the rest is for what stays. */
const YOUNG_MIB = 16;
const STACK_MIB = 4;

/** Environment that is no business of a user's module: what the programs of the platform tell each other. */
const OWN_VARIABLES = /^PILOTLIGHT_/;

/** One worker thread with a user's module in it. It is thrown away as a whole. */
export class ModuleThread {
  readonly #worker: Worker;
  readonly #name: string;
  #onMessage: ((message: FromModule) => void) | undefined;
  #lost: PilotlightError | undefined;
  /** Called once when the thread ends that nobody ended. */
  onLost: ((error: PilotlightError) => void) | undefined;

  constructor(name: string, memoryBytes: number) {
    this.#name = name;
    const environment = Object.entries(process.env).filter(([key]) => !OWN_VARIABLES.test(key));
    this.#worker = new Worker(BOOTSTRAP, {
      eval: true,
      name: 'transform',
      env: Object.fromEntries(environment),
      stdout: false,
      stderr: false,
      resourceLimits: {
        maxOldGenerationSizeMb: Math.max(8, Math.round(memoryBytes / MIB) - YOUNG_MIB),
        maxYoungGenerationSizeMb: YOUNG_MIB,
        stackSizeMb: STACK_MIB,
      },
    });
    this.#worker.on('message', (message: FromModule) => this.#onMessage?.(message));
    this.#worker.on('error', (error: NodeJS.ErrnoException) => this.#lose(lossOf(name, error, memoryBytes)));
    this.#worker.on('exit', (code) => {
      this.#lose(
        new PilotlightError('transform-failed', `${name} ended its own thread (process.exit(${code}))`),
      );
    });
  }

  /**
   * Runs the module's top level.
   *
   * @throws PilotlightError `transform-invalid` with what the module did wrong; the signal's reason
   */
  load(source: string, signal: AbortSignal): Promise<ModuleExports> {
    const { promise, resolve, reject } = Promise.withResolvers<ModuleExports>();
    const onAbort = (): void => reject(signal.reason);
    signal.addEventListener('abort', onAbort, { once: true });
    this.onLost = (error) => reject(invalid(error.message));
    this.#onMessage = (message) => {
      if (message.kind === 'loaded') resolve(message);
      else if (message.kind === 'load-failed')
        reject(invalid(`${this.#name} can't be used: ${message.message}`));
    };
    if (signal.aborted) onAbort();
    this.send({ kind: 'load', name: this.#name, source });
    return promise.finally(() => {
      signal.removeEventListener('abort', onAbort);
      this.#onMessage = undefined;
      this.onLost = undefined;
    });
  }

  listen(onMessage: (message: FromModule) => void): void {
    this.#onMessage = onMessage;
  }

  send(message: ToModule, transferList: ArrayBuffer[] = []): void {
    this.#worker.postMessage(message, transferList);
  }

  /** Ends the thread whatever it does: JavaScript is stopped where it is. */
  end(): void {
    this.#lost ??= invalid('ended');
    void this.#worker.terminate();
  }

  #lose(error: PilotlightError): void {
    if (this.#lost !== undefined) return;
    this.#lost = error;
    this.onLost?.(error);
  }
}

function lossOf(name: string, error: NodeJS.ErrnoException, memoryBytes: number): PilotlightError {
  if (error.code === 'ERR_WORKER_OUT_OF_MEMORY') {
    const limitMib = Math.round(memoryBytes / MIB);
    return new PilotlightError(
      'transform-failed',
      `${name} took more memory than its limit of ${limitMib} MiB and was ended; raise spec.predictor.model.transform.memory`,
      { cause: error },
    );
  }
  const said = error instanceof Error ? error.message : String(error);
  return new PilotlightError('transform-failed', `${name} threw outside of a hook and was ended: ${said}`, {
    cause: error,
  });
}

function invalid(message: string): PilotlightError {
  return new PilotlightError('transform-invalid', message);
}
