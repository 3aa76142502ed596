import { Worker } from 'node:worker_threads';
import { PilotlightError } from '../../contracts/errors.ts';
import { type ImageInput, imageInputProblem } from '../../contracts/image-input.ts';
import { type InputMetadata, planImage } from '../../vision/image-plan.ts';
import { isVariable, type ModelSignature, showNames } from '../core/model-signature.ts';
import type { Tensor } from '../core/tensor.ts';
import { transferableBytes } from '../engine/transfer.ts';
import type { FromImageThread, ImageFormat, ImageTask, ToImageThread } from './image-messages.ts';
import type { HookTiming } from './module-host.ts';

const BOOTSTRAP = `require('node:module').enableCompileCache();
import(${JSON.stringify(new URL('./image-worker.ts', import.meta.url).href)});`;

/** A decoded image of 50 megapixels is 150 MB for a moment. */
const MAX_DECODED_AT_ONCE = 4;
const MAX_WAITING = 1024;

/**
 * The input that images become, as the manifest and the model say it.
 *
 * @throws PilotlightError `model-invalid` where they don't go together
 */
export function imageTask(image: ImageInput, signature: ModelSignature, mayAddInputs: boolean): ImageTask {
  const invalid = (message: string): PilotlightError =>
    new PilotlightError('model-invalid', `spec.predictor.model.imageInput can't be had: ${message}`);
  const { inputs } = signature;
  const found = image.input === undefined ? inputs[0] : inputs.find(({ name }) => name === image.input);
  if (found === undefined)
    throw invalid(`the model has no input '${image.input}'; it takes ${showNames(inputs)}`);
  if (inputs.length > 1 && image.input === undefined) {
    throw invalid(`the model takes ${showNames(inputs)}; say by imageInput.input which one is the image`);
  }
  if (inputs.length > 1 && !mayAddInputs) {
    throw invalid(
      `the model takes ${showNames(inputs)}, and an image is but one of them; add the others by a transform`,
    );
  }
  const problem = imageInputProblem(image);
  if (problem !== undefined) throw invalid(problem);
  const shape = found.shape.map((dimension) => (isVariable(dimension) ? -1 : Number(dimension)));
  const input: InputMetadata = { name: found.name, datatype: found.datatype, shape };
  try {
    planImage(input, { width: 640, height: 480 }, image);
  } catch (error) {
    throw invalid(error instanceof Error ? error.message.replaceAll('--', 'imageInput.') : String(error));
  }
  return { input, image };
}

interface Job {
  bytes: Uint8Array;
  format: ImageFormat;
  resolve: (tensor: Tensor) => void;
  reject: (error: PilotlightError) => void;
}

/** Reads images in a thread of its own, a few at once; the rest waits. */
export class ImageReader {
  #task: ImageTask | undefined;
  readonly #waiting: Job[] = [];
  readonly #running = new Map<number, Job>();
  #worker: Worker | undefined;
  #nextId = 1;
  #isClosed = false;

  /** Resolves once images can be read, after `prepare` has said into what. @throws PilotlightError `internal` when this machine has no sharp */
  static async start(signal: AbortSignal): Promise<ImageReader> {
    const reader = new ImageReader();
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const onAbort = (): void => reject(signal.reason);
    signal.addEventListener('abort', onAbort, { once: true });
    const worker = reader.#startWorker();
    worker.once('message', () => resolve());
    worker.once('error', (error) =>
      reject(
        new PilotlightError('internal', `images can't be read: ${(error as Error).message}`, {
          cause: error,
        }),
      ),
    );
    try {
      signal.throwIfAborted();
      await promise;
      return reader;
    } catch (error) {
      reader.close();
      throw error;
    } finally {
      signal.removeEventListener('abort', onAbort);
    }
  }

  /** The model is known by now. */
  prepare(task: ImageTask): void {
    this.#task = task;
  }

  /** @throws PilotlightError `invalid-request`, `body-too-large`, `server-busy`, `client-closed`, `inference-timeout` */
  read(bytes: Uint8Array, format: ImageFormat, { deadlineMs, signal }: HookTiming): Promise<Tensor> {
    if (!beginsAs(bytes, format)) {
      return Promise.reject(
        new PilotlightError(
          'invalid-request',
          `the body is no ${format.toUpperCase()}, as its Content-Type says`,
        ),
      );
    }
    if (this.#waiting.length >= MAX_WAITING) {
      const message = `${MAX_WAITING} images wait to be read already`;
      return Promise.reject(new PilotlightError('server-busy', message, { retryAfterSeconds: 1 }));
    }
    return new Promise((resolve, reject) => {
      const leave = (error: PilotlightError): void => {
        const index = this.#waiting.indexOf(job);
        if (index >= 0) this.#waiting.splice(index, 1);
        job.reject(error);
      };
      const onAbort = (): void => leave(new PilotlightError('client-closed', 'the client left'));
      const leftMs = Math.min(Math.max(0, deadlineMs - performance.now()), 2 ** 31 - 1);
      const timer = setTimeout(
        () =>
          leave(
            new PilotlightError('inference-timeout', 'the request timeout passed before the image was read'),
          ),
        leftMs,
      );
      const settle = (): void => {
        clearTimeout(timer);
        signal.removeEventListener('abort', onAbort);
      };
      const job: Job = {
        bytes,
        format,
        resolve: (tensor) => {
          settle();
          resolve(tensor);
        },
        reject: (error) => {
          settle();
          reject(error);
        },
      };
      signal.addEventListener('abort', onAbort, { once: true });
      this.#waiting.push(job);
      this.#pump();
    });
  }

  close(): void {
    this.#isClosed = true;
    this.#lose(
      new PilotlightError('draining', 'the model is being unloaded; try again', { retryAfterSeconds: 1 }),
    );
    for (const job of this.#waiting.splice(0))
      job.reject(new PilotlightError('draining', 'the model is being unloaded'));
  }

  #pump(): void {
    const task = this.#task;
    if (task === undefined) return;
    while (!this.#isClosed && this.#running.size < MAX_DECODED_AT_ONCE) {
      const job = this.#waiting.shift();
      if (job === undefined) return;
      const id = this.#nextId++;
      this.#running.set(id, job);
      const { bytes, transferList } = transferableBytes(job.bytes);
      const message: ToImageThread = { id, bytes, format: job.format, task };
      (this.#worker ?? this.#startWorker()).postMessage(message, transferList);
    }
  }

  #startWorker(): Worker {
    const worker = new Worker(BOOTSTRAP, {
      eval: true,
      name: 'images',
      stdout: false,
      stderr: false,
    });
    this.#worker = worker;
    worker.on('message', (message: FromImageThread) => this.#take(message));
    const onEnd = (reason: string): void => {
      if (this.#worker !== worker) return;
      this.#lose(new PilotlightError('inference-failed', `the thread that reads images ended: ${reason}`));
      this.#pump();
    };
    worker.on('error', (error) => onEnd((error as Error).message));
    worker.on('exit', (code) => onEnd(`code ${code}`));
    return worker;
  }

  #take(message: FromImageThread): void {
    if (message.kind === 'started') return;
    const job = this.#running.get(message.id);
    this.#running.delete(message.id);
    if (message.kind === 'read') job?.resolve(message.tensor);
    else job?.reject(new PilotlightError(message.code, message.message));
    this.#pump();
  }

  #lose(error: PilotlightError): void {
    const worker = this.#worker;
    this.#worker = undefined;
    void worker?.terminate();
    for (const job of this.#running.values()) job.reject(error);
    this.#running.clear();
  }
}

const FIRST_BYTES: Readonly<Record<ImageFormat, readonly number[]>> = {
  jpeg: [0xff, 0xd8, 0xff],
  png: [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a],
};

/** libvips reads dozens of formats, SVG among them, which may ask for files: none of them gets that far. */
function beginsAs(bytes: Uint8Array, format: ImageFormat): boolean {
  return FIRST_BYTES[format].every((byte, index) => bytes[index] === byte);
}
