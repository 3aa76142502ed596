import { z } from 'zod';
import { HEADERS } from '../../contracts/headers.ts';
import type { InputMetadata } from '../core/image-plan.ts';
import type { EncodedRequest } from '../core/infer-message.ts';
import { CommandFailure } from '../failure.ts';
import { call, type HttpAnswer, headerOf } from '../http.ts';

const tensorSchema = z.object({ name: z.string(), datatype: z.string(), shape: z.array(z.number()) });
const metadataSchema = z.object({
  name: z.string(),
  inputs: z.array(tensorSchema),
  outputs: z.array(tensorSchema),
});

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
  /** How long each call took, and what its `Server-Timing` said. */
  readonly timings: { what: string; durationMs: number; serverTiming: string | undefined }[] = [];

  constructor(address: ModelAddress, timeoutMs: number) {
    this.#address = address;
    this.#timeoutMs = timeoutMs;
  }

  async inputs(): Promise<InputMetadata[]> {
    const answer = await this.#call('metadata', 'GET', `/v2/models/${this.#model}`);
    let body: unknown;
    try {
      body = JSON.parse(answer.body.toString());
    } catch {
      body = undefined;
    }
    const metadata = metadataSchema.safeParse(body);
    if (metadata.success) return metadata.data.inputs;
    throw new CommandFailure(`${this.#address.url} answers, but not as an inference server does`);
  }

  infer(request: EncodedRequest): Promise<HttpAnswer> {
    return this.#call('infer', 'POST', `/v2/models/${this.#model}/infer`, request);
  }

  predict(request: EncodedRequest): Promise<HttpAnswer> {
    return this.#call('predict', 'POST', `/v1/models/${this.#model}:predict`, request);
  }

  get #model(): string {
    return encodeURIComponent(this.#address.model);
  }

  async #call(
    what: string,
    method: 'GET' | 'POST',
    path: string,
    request?: EncodedRequest,
  ): Promise<HttpAnswer> {
    const answer = await call({
      method,
      url: `${this.#address.url}${servicePath(this.#address)}${path}`,
      ...request,
      timeoutMs: this.#timeoutMs,
      hint: 'start a server with "pilotlight serve DIR" or "pilotlight runtime --model URI", or say where it is with --url',
    });
    this.timings.push({
      what,
      durationMs: answer.durationMs,
      serverTiming: headerOf(answer, 'server-timing'),
    });
    if (answer.status === 200) return answer;
    throw new CommandFailure(refusal(answer));
  }
}

const MAX_SHOWN_CHARACTERS = 2_000;

/** `404 unknown-model: unknown model 'xx'; this server has 'ocr'`. */
function refusal(answer: HttpAnswer): string {
  const code = headerOf(answer, HEADERS.error);
  const head = code === undefined ? String(answer.status) : `${answer.status} ${code}`;
  const text = answer.body.toString('utf8', 0, MAX_SHOWN_CHARACTERS);
  let message = text.trim();
  try {
    const { error } = JSON.parse(text) as { error?: unknown };
    if (typeof error === 'string') message = error;
  } catch {
    // Not ours: shown as it came.
  }
  return `the server refuses: ${head}${message === '' ? '' : `: ${message}`}`;
}
