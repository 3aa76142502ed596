import { Buffer } from 'node:buffer';
import type { EncodedRequest } from '../../client/core/infer-message.ts';
import { InferenceClient, InferenceError } from '../../client/rest.ts';
import type { InputMetadata } from '../../vision/image-plan.ts';
import { CommandFailure } from '../failure.ts';
import { fetchOverAgent, type HttpAnswer, noAnswer } from '../http.ts';

export interface ModelAddress {
  /** Where requests go in. */
  readonly url: string;
  /** Undefined: the service is found by its model, or by the host of the URL. */
  readonly namespace: string | undefined;
  readonly service: string;
  readonly model: string;
}

/** Path below which a service speaks the inference protocol. */
function servicePath({ namespace, service }: Pick<ModelAddress, 'namespace' | 'service'>): string {
  return namespace === undefined ? '' : `/${encodeURIComponent(namespace)}/${encodeURIComponent(service)}`;
}

/** Speaks the inference protocol with one model. */
export class ModelClient {
  readonly #address: ModelAddress;
  readonly #timeoutMs: number;
  readonly #client: InferenceClient;
  /** How long each call took, and what its `Server-Timing` said. */
  readonly timings: { what: string; durationMs: number; serverTiming: string | undefined }[] = [];

  constructor(address: ModelAddress, timeoutMs: number) {
    this.#address = address;
    this.#timeoutMs = timeoutMs;
    this.#client = new InferenceClient({
      url: `${address.url}${servicePath(address)}`,
      model: address.model,
      timeoutMs,
      fetch: fetchOverAgent,
    });
  }

  async inputs(): Promise<InputMetadata[]> {
    return (await this.#timed('metadata', () => this.#client.metadata())).inputs;
  }

  infer(request: EncodedRequest): Promise<HttpAnswer> {
    return this.#send('infer', `/v2/models/${this.#model}/infer`, request);
  }

  predict(request: EncodedRequest): Promise<HttpAnswer> {
    return this.#send('predict', `/v1/models/${this.#model}:predict`, request);
  }

  get #model(): string {
    return encodeURIComponent(this.#address.model);
  }

  async #send(what: string, path: string, request: EncodedRequest): Promise<HttpAnswer> {
    const fromMs = performance.now();
    const { status, headers, body } = await this.#timed(what, () => this.#client.call('POST', path, request));
    const durationMs = performance.now() - fromMs;
    return {
      status,
      headers: Object.fromEntries(headers),
      body: Buffer.from(body.buffer, body.byteOffset, body.byteLength),
      durationMs,
    };
  }

  /** Notes how long a call took, all its attempts together. @throws CommandFailure */
  async #timed<Result>(what: string, run: () => Promise<Result>): Promise<Result> {
    const fromMs = performance.now();
    try {
      const result = await run();
      const { headers } = result as { headers?: Headers };
      const serverTiming = headers?.get('server-timing') ?? undefined;
      this.timings.push({ what, durationMs: performance.now() - fromMs, serverTiming });
      return result;
    } catch (error) {
      throw this.#inWords(error);
    }
  }

  #inWords(error: unknown): unknown {
    if (!(error instanceof InferenceError)) return error;
    const { url } = this.#address;
    switch (error.code) {
      case 'bad-answer':
        return new CommandFailure(`${url} answers, but not as an inference server does`);
      case 'timeout':
        return noAnswer(url, { name: 'TimeoutError' }, { timeoutMs: this.#timeoutMs, hint: HINT });
      case 'unreachable':
        return noAnswer(url, error.cause, { timeoutMs: this.#timeoutMs, hint: HINT });
      default:
        return new CommandFailure(refusal(error));
    }
  }
}

const HINT =
  'start a server with "pilotlight serve DIR" or "pilotlight runtime --model URI", or say where it is with --url';

/** `404 unknown-model: unknown model 'xx'; this server has 'ocr'`. */
function refusal({ status, code, message }: InferenceError): string {
  const head = code === '' ? String(status) : `${status} ${code}`;
  return `the server refuses: ${head}${message === '' ? '' : `: ${message}`}`;
}
