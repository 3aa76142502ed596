import {
  type Client,
  type ClientDuplexStream,
  credentials,
  Metadata,
  makeClientConstructor,
  type ServiceError,
  status,
} from '@grpc/grpc-js';
import protobuf from 'protobufjs';
import { HEADERS } from '../contracts/headers.ts';
import { DEFAULT_RETRY, type RetryPolicy, retryDelayMs } from './core/retry.ts';
import { fromWire, type Tensor, toWire } from './core/tensors.ts';
import { InferenceError } from './errors.ts';
import type { CallOptions, InferOptions, InferResult } from './rest.ts';

export interface GrpcInferenceClientOptions {
  /** `host:port`. */
  address: string;
  model: string;
  version?: string;
  /** Whom the call is for where one address leads to several services: `name.namespace`. */
  authority?: string;
  /** For each call, all its attempts included; for a stream, for each wait for an answer. Default 60,000. */
  timeoutMs?: number;
  retry?: Partial<RetryPolicy>;
  headers?: Readonly<Record<string, string>>;
}

/** One request of a stream. */
export interface StreamedRequest extends Omit<InferOptions, 'signal' | 'timeoutMs'> {
  inputs: readonly Tensor[];
}

const SERVICE = '/inference.GRPCInferenceService/';
const DEFAULT_TIMEOUT_MS = 60_000;

const PROTOCOL = protobuf
  .loadSync(new URL('../contracts/inference.proto', import.meta.url).pathname)
  .resolveAll();
const Request = PROTOCOL.lookupType('inference.ModelInferRequest');
const Response = PROTOCOL.lookupType('inference.ModelInferResponse');
const StreamResponse = PROTOCOL.lookupType('inference.ModelStreamInferResponse');
const ReadyRequest = PROTOCOL.lookupType('inference.ModelReadyRequest');
const ReadyResponse = PROTOCOL.lookupType('inference.ModelReadyResponse');

interface OutputMessage {
  name: string;
  datatype: string;
  shape: number[];
}

interface ResponseMessage {
  modelName: string;
  modelVersion: string;
  id: string;
  outputs: OutputMessage[];
  rawOutputContents: Uint8Array[];
}

const writer =
  (type: protobuf.Type) =>
  (message: object): Buffer =>
    Buffer.from(type.encode(type.fromObject(message)).finish());
const reader =
  (type: protobuf.Type) =>
  (bytes: Buffer): Record<string, unknown> =>
    type.toObject(type.decode(bytes), { longs: Number, defaults: true });

/** Speaks the Open Inference Protocol over gRPC with one model; tensors go as raw contents, both ways. */
export class GrpcInferenceClient {
  readonly #options: GrpcInferenceClientOptions;
  readonly #client: Client;
  readonly #retry: RetryPolicy;

  constructor(options: GrpcInferenceClientOptions) {
    this.#options = options;
    this.#retry = { ...DEFAULT_RETRY, ...options.retry };
    this.#client = new (makeClientConstructor({}, 'GRPCInferenceService'))(
      options.address,
      credentials.createInsecure(),
      {
        'grpc.max_receive_message_length': -1,
        'grpc.max_send_message_length': -1,
        // Ours follow the server's wish and the caller's deadline.
        'grpc.enable_retries': 0,
        ...(options.authority === undefined ? {} : { 'grpc.default_authority': options.authority }),
      },
    );
  }

  /** Runs the model. @throws InferenceError; TypeError for a tensor whose data doesn't fill its shape; the reason of `signal`. */
  async infer(inputs: readonly Tensor[], options: InferOptions = {}): Promise<InferResult> {
    const message = this.#requestMessage({ inputs, ...options });
    return resultOf(
      // Decoded by the protocol's own definition of this very message; protobufjs gives any message one type.
      (await this.#unary('ModelInfer', Request, Response, message, options)) as unknown as ResponseMessage,
    );
  }

  /** Whether the model can be used now; false, too, where nobody answers. */
  async isReady(options: CallOptions = {}): Promise<boolean> {
    const { model: name, version = '' } = this.#options;
    try {
      const once = { ...options, attempts: 1 };
      const answer = await this.#unary('ModelReady', ReadyRequest, ReadyResponse, { name, version }, once);
      return answer['ready'] === true;
    } catch (error) {
      if (error instanceof InferenceError) return false;
      throw error;
    }
  }

  /**
   * Sends requests on one stream and gives their results in the same order. The next request is asked for when the
   * stream takes it; leaving the loop over the results ends the stream.
   *
   * @throws InferenceError when the stream breaks, or a request fails: the results before it have been given.
   */
  async *inferStream(
    requests: AsyncIterable<StreamedRequest> | Iterable<StreamedRequest>,
    { signal }: Pick<CallOptions, 'signal'> = {},
  ): AsyncGenerator<InferResult, void, void> {
    signal?.throwIfAborted();
    const call = this.#client.makeBidiStreamRequest(
      `${SERVICE}ModelStreamInfer`,
      writer(Request),
      reader(StreamResponse),
      this.#metadata(),
    );
    const onAbort = (): void => call.cancel();
    signal?.addEventListener('abort', onAbort, { once: true });
    const sending = this.#sendAll(call, requests);
    // Told below, by the answers that end.
    sending.catch(() => call.cancel());
    try {
      for await (const answer of call as AsyncIterable<{
        errorMessage: string;
        inferResponse: ResponseMessage;
      }>) {
        if (answer.errorMessage !== '') throw new InferenceError('invalid-request', answer.errorMessage);
        yield resultOf(answer.inferResponse);
      }
      await sending;
    } catch (error) {
      if (signal?.aborted === true) throw signal.reason;
      if (error instanceof InferenceError || !isServiceError(error)) throw error;
      throw refusalOf(error);
    } finally {
      signal?.removeEventListener('abort', onAbort);
      call.cancel();
    }
  }

  close(): void {
    this.#client.close();
  }

  async #sendAll(
    call: ClientDuplexStream<object, unknown>,
    requests: AsyncIterable<StreamedRequest> | Iterable<StreamedRequest>,
  ): Promise<void> {
    for await (const request of requests) {
      if (call.destroyed) return;
      if (call.write(this.#requestMessage(request))) continue;
      await new Promise<void>((resolve) => {
        const go = (): void => {
          call.off('drain', go);
          call.off('close', go);
          resolve();
        };
        call.on('drain', go);
        call.on('close', go);
      });
    }
    call.end();
  }

  #requestMessage({ inputs, outputs = [], id = '', parameters = {} }: StreamedRequest): object {
    const { model, version = '' } = this.#options;
    const wires = inputs.map(toWire);
    return {
      modelName: model,
      modelVersion: version,
      id,
      parameters: Object.fromEntries(
        Object.entries(parameters).map(([key, value]) => [key, parameterOf(value)]),
      ),
      inputs: wires.map(({ name, datatype, shape }) => ({ name, datatype, shape })),
      outputs: outputs.map((name) => ({ name })),
      rawInputContents: wires.map(({ bytes }) => bytes),
    };
  }

  #metadata(): Metadata {
    const metadata = new Metadata();
    for (const [key, value] of Object.entries(this.#options.headers ?? {})) metadata.set(key, value);
    return metadata;
  }

  async #unary(
    method: string,
    request: protobuf.Type,
    response: protobuf.Type,
    message: object,
    { signal, timeoutMs, attempts }: CallOptions & { attempts?: number },
  ): Promise<Record<string, unknown>> {
    const limitMs = timeoutMs ?? this.#options.timeoutMs ?? DEFAULT_TIMEOUT_MS;
    const endsMs = performance.now() + limitMs;
    const policy = attempts === undefined ? this.#retry : { ...this.#retry, attempts };
    for (let attempt = 1; ; attempt++) {
      signal?.throwIfAborted();
      try {
        const leftMs = Math.max(0, endsMs - performance.now());
        return await this.#once(method, request, response, message, leftMs, signal);
      } catch (error) {
        if (signal?.aborted === true) throw signal.reason;
        if (!(error instanceof InferenceError) || error.code === 'timeout') throw error;
        const { status: code, retryAfterMs } = error;
        const failed = { attempt, status: code, retryAfterMs };
        const delayMs = retryDelayMs(policy, failed, Math.random(), endsMs - performance.now());
        if (delayMs === undefined) throw error;
        await new Promise((resolve) => setTimeout(resolve, delayMs));
      }
    }
  }

  #once(
    method: string,
    request: protobuf.Type,
    response: protobuf.Type,
    message: object,
    leftMs: number,
    signal: AbortSignal | undefined,
  ): Promise<Record<string, unknown>> {
    return new Promise((resolve, reject) => {
      const call = this.#client.makeUnaryRequest(
        SERVICE + method,
        writer(request),
        reader(response),
        message,
        this.#metadata(),
        { deadline: Date.now() + leftMs },
        (error: ServiceError | null, answer?: Record<string, unknown>) => {
          signal?.removeEventListener('abort', onAbort);
          if (error === null) resolve(answer ?? {});
          else reject(refusalOf(error));
        },
      );
      const onAbort = (): void => call.cancel();
      signal?.addEventListener('abort', onAbort, { once: true });
    });
  }
}

function resultOf({ modelName, modelVersion, id, outputs, rawOutputContents }: ResponseMessage): InferResult {
  return {
    modelName,
    modelVersion: modelVersion === '' ? undefined : modelVersion,
    id: id === '' ? undefined : id,
    outputs: outputs.map(({ name, datatype, shape }, index) => {
      const bytes = rawOutputContents[index];
      if (bytes === undefined)
        throw new InferenceError('bad-answer', `output "${name}" came without raw contents`);
      return fromWire({ name, datatype, shape, bytes });
    }),
  };
}

function parameterOf(value: string | number | boolean): object {
  if (typeof value === 'boolean') return { boolParam: value };
  if (typeof value === 'string') return { stringParam: value };
  return Number.isSafeInteger(value) ? { int64Param: value } : { doubleParam: value };
}

/** HTTP statuses that mean the same, for one rule of what is tried again. */
const HTTP_STATUS: Partial<Record<number, number>> = {
  [status.INVALID_ARGUMENT]: 400,
  [status.NOT_FOUND]: 404,
  [status.UNIMPLEMENTED]: 501,
  [status.RESOURCE_EXHAUSTED]: 413,
  [status.INTERNAL]: 500,
  [status.DEADLINE_EXCEEDED]: 504,
};

function isServiceError(error: unknown): error is ServiceError {
  return error instanceof Error && 'details' in error && 'metadata' in error;
}

function refusalOf(error: ServiceError): InferenceError {
  const [code] = error.metadata.get(HEADERS.error);
  const [pushback] = error.metadata.get('grpc-retry-pushback-ms');
  const isFromServer = code !== undefined;
  if (!isFromServer && error.code === status.DEADLINE_EXCEEDED) {
    return new InferenceError('timeout', 'no answer within the time limit', { cause: error });
  }
  if (!isFromServer && error.code === status.UNAVAILABLE) {
    return new InferenceError('unreachable', error.details, { cause: error });
  }
  return new InferenceError(String(code ?? ''), error.details, {
    status: error.code === status.UNAVAILABLE ? 503 : (HTTP_STATUS[error.code] ?? 500),
    retryAfterMs: pushback === undefined ? undefined : Number(pushback),
    cause: error,
  });
}
