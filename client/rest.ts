import type { z } from 'zod';
import { HEADERS } from '../contracts/headers.ts';
import { errorBodySchema, modelMetadataSchema } from '../contracts/inference-protocol.ts';
import { decodeAnswer, encodeRequest, JSON_LENGTH_HEADER } from './core/infer-message.ts';
import { DEFAULT_RETRY, parseRetryAfter, type RetryPolicy, retryDelayMs } from './core/retry.ts';
import { fromValues, type Tensor, toWire } from './core/tensors.ts';
import { InferenceError } from './errors.ts';

export type { RetryPolicy } from './core/retry.ts';
export type { DataByDatatype, Datatype, Tensor } from './core/tensors.ts';
export { InferenceError } from './errors.ts';

type ModelMetadata = z.infer<typeof modelMetadataSchema>;

export interface InferenceClientOptions {
  /** Where the service is: `http://name.namespace…`, or with its path `http://host/namespace/name`. */
  url: string;
  model: string;
  /** Undefined: whichever is served. */
  version?: string;
  /** For each call, all its attempts included. Default 60,000. */
  timeoutMs?: number;
  retry?: Partial<RetryPolicy>;
  /** Sent with every call. */
  headers?: Readonly<Record<string, string>>;
  /** Carries the calls; default: the global one. */
  fetch?: (url: string, init: RequestInit) => Promise<Response>;
}

export interface CallOptions {
  /** Gives the call up; it rejects with the signal's reason. */
  signal?: AbortSignal;
  timeoutMs?: number;
}

export interface InferOptions extends CallOptions {
  /** Names of the outputs wanted; all of the model's by default. */
  outputs?: readonly string[];
  /** Comes back in the result. */
  id?: string;
  parameters?: Readonly<Record<string, string | number | boolean>>;
}

export interface InferResult {
  modelName: string;
  modelVersion: string | undefined;
  id: string | undefined;
  outputs: readonly Tensor[];
}

/** One answer with status 2xx, whole. */
export interface Answer {
  status: number;
  headers: Headers;
  body: Uint8Array;
}

const DEFAULT_TIMEOUT_MS = 60_000;

/**
 * Speaks the Open Inference Protocol v2 over REST with one model; tensors go as binary data, both ways.
 *
 * @example
 * const client = new InferenceClient({ url: 'http://127.0.0.1:8080', model: 'adder' });
 * const { outputs } = await client.infer([
 *   { name: 'x', datatype: 'FP32', shape: [1, 2], data: Float32Array.of(1, 2) },
 * ]);
 */
export class InferenceClient {
  readonly #options: InferenceClientOptions;
  readonly #base: string;
  readonly #retry: RetryPolicy;

  constructor(options: InferenceClientOptions) {
    this.#options = options;
    this.#base = options.url.replace(/\/+$/, '');
    this.#retry = { ...DEFAULT_RETRY, ...options.retry };
  }

  /**
   * Runs the model.
   *
   * @throws InferenceError; TypeError for a tensor whose data doesn't fill its shape; the reason of `signal`.
   */
  async infer(inputs: readonly Tensor[], options: InferOptions = {}): Promise<InferResult> {
    const { outputs, id, parameters } = options;
    const { headers, body } = encodeRequest(inputs.map(toWire), { outputs, id, parameters });
    const answer = await this.call('POST', `${this.#path}/infer`, { headers, body }, options);
    try {
      const decoded = decodeAnswer(answer.body, answer.headers.get(JSON_LENGTH_HEADER) ?? undefined);
      return { ...decoded, outputs: decoded.outputs.map(fromValues) };
    } catch (error) {
      throw badAnswer(error);
    }
  }

  /** What the model takes and gives. @throws InferenceError */
  async metadata(options: CallOptions = {}): Promise<ModelMetadata> {
    const { body } = await this.call('GET', this.#path, {}, options);
    try {
      return modelMetadataSchema.parse(JSON.parse(new TextDecoder().decode(body)));
    } catch (error) {
      throw badAnswer(error);
    }
  }

  /** Whether the model can be used now; false, too, where nobody answers or the model isn't known. */
  async isReady(options: CallOptions = {}): Promise<boolean> {
    try {
      await this.#attempt('GET', `${this.#path}/ready`, {}, this.#signalOf(options));
      return true;
    } catch (error) {
      if (error instanceof InferenceError) return false;
      throw error;
    }
  }

  /**
   * Any call of the protocol, with its retries.
   *
   * @param path from the service's root, such as `/v2/models/m/stats`.
   * @throws InferenceError, and the reason of `signal`.
   */
  async call(
    method: 'GET' | 'POST',
    path: string,
    content: { headers?: Readonly<Record<string, string>>; body?: Uint8Array } = {},
    options: CallOptions = {},
  ): Promise<Answer> {
    const endsMs = performance.now() + (options.timeoutMs ?? this.#options.timeoutMs ?? DEFAULT_TIMEOUT_MS);
    const signal = this.#signalOf(options);
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.#attempt(method, path, content, signal);
      } catch (error) {
        if (!(error instanceof InferenceError) || error.code === 'timeout') throw error;
        const { status, retryAfterMs } = error;
        const leftMs = endsMs - performance.now();
        const failed = { attempt, status, retryAfterMs };
        const delayMs = retryDelayMs(this.#retry, failed, Math.random(), leftMs);
        if (delayMs === undefined) throw error;
        await waitFor(delayMs, signal);
      }
    }
  }

  get #path(): string {
    const { model, version } = this.#options;
    const path = `/v2/models/${encodeURIComponent(model)}`;
    return version === undefined ? path : `${path}/versions/${encodeURIComponent(version)}`;
  }

  #signalOf({ signal, timeoutMs }: CallOptions): AbortSignal {
    const timeout = AbortSignal.timeout(timeoutMs ?? this.#options.timeoutMs ?? DEFAULT_TIMEOUT_MS);
    return signal === undefined ? timeout : AbortSignal.any([signal, timeout]);
  }

  async #attempt(
    method: string,
    path: string,
    { headers, body }: { headers?: Readonly<Record<string, string>>; body?: Uint8Array },
    signal: AbortSignal,
  ): Promise<Answer> {
    let response: Response;
    let bytes: Uint8Array;
    try {
      response = await (this.#options.fetch ?? fetch)(this.#base + path, {
        method,
        headers: { ...this.#options.headers, ...headers },
        signal,
        ...(body === undefined ? {} : { body: body as Uint8Array<ArrayBuffer> }),
      });
      bytes = new Uint8Array(await response.arrayBuffer());
    } catch (error) {
      throw failureOf(error, signal);
    }
    if (response.ok) return { status: response.status, headers: response.headers, body: bytes };
    throw refusalOf(response, bytes);
  }
}

function waitFor(delayMs: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => {
      clearTimeout(timer);
      reject(failureOf(signal.reason, signal));
    };
    const timer = setTimeout(() => {
      signal.removeEventListener('abort', onAbort);
      resolve();
    }, delayMs);
    if (signal.aborted) onAbort();
    else signal.addEventListener('abort', onAbort, { once: true });
  });
}

/** A timeout or a broken connection as an InferenceError; what the caller aborted with as it is. */
function failureOf(error: unknown, signal: AbortSignal): unknown {
  if (signal.aborted) {
    const { reason } = signal as { reason: unknown };
    const isTimeout = reason instanceof DOMException && reason.name === 'TimeoutError';
    return isTimeout
      ? new InferenceError('timeout', 'no answer within the time limit', { cause: error })
      : reason;
  }
  const { cause } = error as { cause?: unknown };
  const text = cause instanceof Error && cause.message !== '' ? cause.message : String(error);
  return new InferenceError('unreachable', text, { cause: cause ?? error });
}

const MAX_SHOWN_CHARACTERS = 2_000;

function refusalOf({ status, headers }: Response, body: Uint8Array): InferenceError {
  const text = new TextDecoder().decode(body).slice(0, MAX_SHOWN_CHARACTERS).trim();
  let message = text;
  try {
    message = errorBodySchema.parse(JSON.parse(text)).error;
  } catch {
    // Not of the protocol: shown as it came.
  }
  return new InferenceError(headers.get(HEADERS.error) ?? '', message, {
    status,
    retryAfterMs: parseRetryAfter(headers.get('retry-after'), Date.now()),
  });
}

function badAnswer(cause: unknown): InferenceError {
  const text = cause instanceof Error ? cause.message : String(cause);
  return new InferenceError('bad-answer', `this is no answer of an inference server: ${text}`, { cause });
}
