import { Worker } from 'node:worker_threads';
import { PilotlightError } from '../../contracts/errors.ts';
import type { Tensor } from '../core/tensor.ts';
import { concatenateTensors } from '../core/tensor-batch.ts';
import { loadError, memoryError } from './load-errors.ts';
import type { SessionPlan } from './session-options.ts';
import { transferable } from './transfer.ts';
import type { FromWorker, ToWorker, ValueMetadata } from './worker-messages.ts';

export interface SessionMetadata {
  inputs: ValueMetadata[];
  outputs: ValueMetadata[];
  createMs: number;
}

/** What became of several calls that were run together. */
export type BatchOutcome =
  | {
      kind: 'ran';
      /** Of all calls, one behind the other. */
      outputs: Tensor[];
      /** Putting the inputs together, where this thread did. */
      joinMs: number;
      computeMs: number;
      /** What each call brought, to run it again; what was handed over came back. */
      inputs: readonly (readonly Tensor[])[];
    }
  | { kind: 'failed'; error: PilotlightError; inputs: readonly (readonly Tensor[])[] };

/**
 * Up to here the inputs of a batch are put together on this thread and go to the worker in one piece: 64 calls of
 * 4 KiB each keep it for 0.009 ms so, and for 0.036 ms as 64 pieces; of 16 KiB each for 0.037 ms either way. More is
 * handed over piece by piece, without a copy, and put together by the worker: 4 MiB take 0.04 ms instead of 0.13.
 */
const JOIN_HERE_BYTES = 1024 ** 2;

/**
 * Opens the compile cache before the worker's own file is read: the compiler that strips types costs a thread
 * 18 MB and 50 ms, and isn't loaded at all when everything comes from the cache.
 */
const BOOTSTRAP = `require('node:module').enableCompileCache();
import(${JSON.stringify(new URL('./worker.ts', import.meta.url).href)});`;

/** Workers that are inside ONNX Runtime now, or may be. */
const busyInstances = new Set<Instance>();

/**
 * Ends the process, whatever its workers do. `process.exit` ends each worker first and waits for it: while one is
 * inside ONNX Runtime that takes as long as the call, and then aborts the process (see `Instance.retire`). The
 * kernel ends all threads of a process that replaces itself, so then it is replaced by one that exits.
 */
export function exitAtOnce(code: number): never {
  if (busyInstances.size > 0 && process.execve !== undefined) {
    process.execve(process.execPath, [process.execPath, '--eval', `process.exit(${code})`]);
  }
  return process.exit(code);
}

interface Pending {
  resolve: (message: FromWorker) => void;
  reject: (error: PilotlightError) => void;
}

/**
 * One worker thread and its session. It does one thing at a time; whoever holds it makes sure of that
 * (`InstancePool`). A worker that dies rejects what it was doing, and `onLost` is called once.
 */
export class Instance {
  readonly #worker: Worker;
  readonly #started: Promise<FromWorker>;
  #pending: Pending | undefined;
  /** Settles when the present call is over. */
  #idle: Promise<void> = Promise.resolve();
  #lost: PilotlightError | undefined;
  #ending = false;
  /** Called once when the worker ended by itself, whatever it was doing. */
  onLost: ((error: PilotlightError) => void) | undefined;

  /** Starts the worker; it loads ONNX Runtime (30 to 45 ms) on its own thread meanwhile. */
  constructor() {
    this.#worker = new Worker(BOOTSTRAP, {
      eval: true,
      name: 'inference',
      // What the worker prints, it prints at once, not when the main thread gets round to it.
      stdout: false,
      stderr: false,
    });
    this.#started = this.#next();
    this.#started.catch(() => undefined);
    this.#worker.on('message', (message: FromWorker) => {
      const pending = this.#pending;
      this.#pending = undefined;
      pending?.resolve(message);
    });
    this.#worker.on('error', (error: NodeJS.ErrnoException) => {
      this.#lose(
        error.code === 'ERR_WORKER_OUT_OF_MEMORY'
          ? memoryError(`the inference worker ran out of memory: ${error.message}`, error)
          : new PilotlightError('inference-failed', `the inference worker failed: ${error.message}`, {
              cause: error,
            }),
      );
    });
    this.#worker.on('exit', (exitCode) => {
      this.#lose(new PilotlightError('inference-failed', `the inference worker ended with code ${exitCode}`));
    });
  }

  get lost(): boolean {
    return this.#lost !== undefined;
  }

  /** Resolves once ONNX Runtime is loaded in the worker. */
  async started(): Promise<void> {
    await this.#started;
  }

  /**
   * Creates the session; the main thread stays free.
   *
   * @throws PilotlightError with a `model-*` code that names the cause.
   */
  async create(plan: SessionPlan): Promise<SessionMetadata> {
    await this.#started;
    const answer = await this.#ask({ kind: 'create', plan });
    if (answer.kind === 'create-failed') throw loadError(answer.message);
    if (answer.kind !== 'created') throw unexpected(answer);
    return answer;
  }

  /**
   * Runs the session once. The inputs' memory is handed over: large tensors are empty afterwards.
   *
   * @throws PilotlightError `inference-failed`, or `unsupported` for an output the protocol can't carry.
   */
  async run(
    inputs: readonly Tensor[],
    outputs: readonly string[] | undefined,
  ): Promise<{ outputs: Tensor[]; computeMs: number }> {
    const { tensors, transferList } = transferable(inputs);
    const answer = await this.#ask({ kind: 'run', inputs: tensors, outputs }, transferList);
    if (answer.kind === 'run-failed') throw new PilotlightError(answer.code, answer.message);
    if (answer.kind !== 'ran') throw unexpected(answer);
    return answer;
  }

  /**
   * Runs the session once for several calls that fit together. Rejects only when the worker is lost.
   *
   * @param sizeBytes of all inputs.
   */
  async runBatch(
    calls: readonly (readonly Tensor[])[],
    sizeBytes: number,
    outputs: readonly string[] | undefined,
  ): Promise<BatchOutcome> {
    const startedMs = performance.now();
    const isJoinedHere = sizeBytes <= JOIN_HERE_BYTES;
    const pieces = isJoinedHere ? [concatenateTensors(calls)] : calls;
    const joinMs = isJoinedHere ? performance.now() - startedMs : 0;
    const ready = pieces.map(transferable);
    const answer = await this.#ask(
      { kind: 'run-batch', calls: ready.map(({ tensors }) => tensors), outputs },
      [...new Set(ready.flatMap(({ transferList }) => transferList))],
    );
    if (answer.kind !== 'ran' && answer.kind !== 'run-failed') throw unexpected(answer);
    const inputs = answer.calls ?? calls;
    if (answer.kind === 'ran') return { ...answer, joinMs, inputs };
    return { kind: 'failed', error: new PilotlightError(answer.code, answer.message), inputs };
  }

  /** Resolves when what it does now is over, well or badly. */
  async whenIdle(): Promise<void> {
    await this.#idle;
  }

  /**
   * Ends the worker once it is idle; resolves when its thread is gone.
   *
   * A worker inside ONNX Runtime must not be terminated: when the native call returns, onnxruntime-node 1.30 meets
   * a JavaScript engine that is shutting down, throws a C++ exception that nobody catches, and the whole process
   * aborts. So a worker that hangs is left to itself, and whoever has to exit meanwhile uses `exitAtOnce`.
   */
  async retire(): Promise<void> {
    this.#ending = true;
    await this.#idle;
    await this.#worker.terminate();
  }

  #next(): Promise<FromWorker> {
    busyInstances.add(this);
    const answer = new Promise<FromWorker>((resolve, reject) => {
      this.#pending = { resolve, reject };
    });
    const atRest = (): void => void busyInstances.delete(this);
    this.#idle = answer.then(atRest, atRest);
    return answer;
  }

  #ask(message: ToWorker, transferList: ArrayBuffer[] = []): Promise<FromWorker> {
    if (this.#lost !== undefined) return Promise.reject(this.#lost);
    if (this.#pending !== undefined) {
      return Promise.reject(
        new PilotlightError('internal', 'an instance was given two things to do at once'),
      );
    }
    const answer = this.#next();
    this.#worker.postMessage(message, transferList);
    return answer;
  }

  #lose(error: PilotlightError): void {
    if (this.#lost !== undefined) return;
    this.#lost = error;
    const pending = this.#pending;
    this.#pending = undefined;
    pending?.reject(error);
    if (!this.#ending) this.onLost?.(error);
  }
}

function unexpected(message: FromWorker): PilotlightError {
  return new PilotlightError('internal', `unexpected answer '${message.kind}' of an inference worker`);
}
