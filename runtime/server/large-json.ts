import { readV1Ns, readV2Ns, writeNs } from '../core/json-cost.ts';
import type { JsonKind, JsonResults, JsonTasks } from '../core/json-work.ts';
import type { ModelSignature } from '../core/model-signature.ts';
import { decodeInferBody } from '../core/oip-binary.ts';
import {
  type InferRequest,
  type InferResponse,
  noParameters,
  type Parameters,
} from '../core/oip-messages.ts';
import { type EncodedResponse, encodeInferResponse } from '../core/oip-response.ts';
import type { Tensor } from '../core/tensor.ts';
import { decodePredictRequest, encodePredictResponse, type PredictRequest } from '../core/v1.ts';
import { transferable, transferableBytes } from '../engine/transfer.ts';
import type { ByteBudget } from './byte-budget.ts';
import type { JsonOrder, JsonThreads } from './json-threads.ts';
import type { HeldBytes } from './read-body.ts';

/**
 * From here on another thread does it. Handing it over and back costs 0.1 ms, most of it on the main thread, whatever
 * its size; 5 ms is what the others may wait. That is 2 MB of an OIP request, 0.7 MB of a V1 request, 250 kB of texts,
 * 50,000 numbers of an answer.
 */
const LONG_NS = 5_000_000;

/**
 * What a thread takes to start (16 to 25 ms). A cold start's one request must not wait for that, so the first body of
 * a process that takes less is read here, and the first answer written.
 */
const THREAD_START_NS = 20_000_000;

/** What of a request counts here: how long it has, whether its client is there, and the bytes that it holds. */
export interface JsonUser {
  readonly deadlineMs: number;
  readonly signal: AbortSignal;
  readonly held: HeldBytes;
}

/**
 * Reads and writes the JSON of requests: at once where that is short, else in another thread, so that the event
 * loop stays free. The results and the errors are the same. Nothing of the threads is loaded before they are needed.
 */
export class LargeJson {
  readonly #budget: ByteBudget;
  readonly #onLost: (error: Error) => void;
  #threads: JsonThreads | undefined;
  readonly #wasDoneHere = { reading: false, writing: false };
  #isClosed = false;

  /** @param onLost hears why a thread was lost. */
  constructor(budget: ByteBudget, onLost: (error: Error) => void) {
    this.#budget = budget;
    this.#onLost = onLost;
  }

  /** Whether there was something for the threads so far. */
  get hasThreads(): boolean {
    return this.#threads !== undefined;
  }

  /** The memory of a long body is handed over. @throws PilotlightError, as `decodeInferBody` and `JsonThreads.run` */
  async decodeV2(task: JsonTasks['decode-v2'], user: JsonUser): Promise<InferRequest> {
    const { body, headerLength, signature } = task;
    if (this.#isForHere('reading', readV2Ns(body.byteLength, headerLength, signature))) {
      return decodeInferBody(body, headerLength, signature);
    }
    const request = await this.#decode('decode-v2', task, user);
    return {
      ...request,
      parameters: withoutPrototype(request.parameters),
      outputs: request.outputs.map((output) => ({
        ...output,
        parameters: withoutPrototype(output.parameters),
      })),
    };
  }

  /** The memory of a long body is handed over. @throws PilotlightError, as `decodePredictRequest` and `JsonThreads.run` */
  async decodeV1(body: Uint8Array, signature: ModelSignature, user: JsonUser): Promise<PredictRequest> {
    return this.#isForHere('reading', readV1Ns(body.byteLength, signature))
      ? decodePredictRequest(body, signature)
      : this.#decode('decode-v1', { body, signature }, user);
  }

  /** The memory of a long answer's outputs is handed over. @throws PilotlightError, as `encodeInferResponse` and `JsonThreads.run` */
  async encodeV2(
    response: InferResponse,
    isBinary: (name: string) => boolean,
    user: JsonUser,
  ): Promise<EncodedResponse> {
    const { outputs } = response;
    if (this.#isForHere('writing', writeNs(outputs, isBinary))) {
      return encodeInferResponse(response, isBinary);
    }
    const binaryNames = new Set(outputs.flatMap(({ name }) => (isBinary(name) ? [name] : [])));
    const { tensors, transferList } = transferable(outputs);
    return this.#encode(
      'encode-v2',
      { response: { ...response, outputs: tensors }, binaryNames },
      transferList,
      user,
    );
  }

  /** The memory of a long answer's outputs is handed over. @throws PilotlightError, as `encodePredictResponse` and `JsonThreads.run` */
  async encodeV1(
    outputs: readonly Tensor[],
    request: JsonTasks['encode-v1']['request'],
    user: JsonUser,
  ): Promise<Uint8Array> {
    if (
      this.#isForHere(
        'writing',
        writeNs(outputs, () => false),
      )
    ) {
      return encodePredictResponse(outputs, request);
    }
    const { tensors, transferList } = transferable(outputs);
    const { layout, rowCount } = request;
    return this.#encode('encode-v1', { outputs: tensors, request: { layout, rowCount } }, transferList, user);
  }

  /** Ends the threads; what they do is refused. */
  close(): void {
    this.#isClosed = true;
    this.#threads?.close();
  }

  #isForHere(what: 'reading' | 'writing', ns: number): boolean {
    if (ns < LONG_NS) return true;
    if (this.#wasDoneHere[what] || ns >= THREAD_START_NS || this.hasThreads) return false;
    this.#wasDoneHere[what] = true;
    return true;
  }

  /** The body's bytes stay accounted until there are tensors instead, which may take four times as much. */
  async #decode<Kind extends 'decode-v1' | 'decode-v2'>(
    kind: Kind,
    task: JsonTasks[Kind],
    user: JsonUser,
  ): Promise<JsonResults[Kind]> {
    const sizeBytes = task.body.byteLength;
    const { bytes, transferList } = transferableBytes(task.body);
    const result = await this.#run({ kind, task: { ...task, body: bytes }, transferList, sizeBytes }, user);
    user.held.takeAnyway(numbersBytes(result.inputs));
    // Texts are about what they were in the body.
    if (!result.inputs.some(({ data }) => Array.isArray(data))) user.held.give(sizeBytes);
    return result;
  }

  async #encode<Kind extends 'encode-v1' | 'encode-v2'>(
    kind: Kind,
    task: JsonTasks[Kind],
    transferList: ArrayBuffer[],
    user: JsonUser,
  ): Promise<JsonResults[Kind]> {
    const sizeBytes = transferList.reduce((sum, { byteLength }) => sum + byteLength, 0);
    user.held.takeAnyway(sizeBytes);
    const result = await this.#run({ kind, task, transferList, sizeBytes }, user);
    user.held.give(sizeBytes);
    return result;
  }

  async #run<Kind extends JsonKind>(order: JsonOrder<Kind>, user: JsonUser): Promise<JsonResults[Kind]> {
    if (this.#threads === undefined) {
      const { JsonThreads } = await import('./json-threads.ts');
      this.#threads ??= new JsonThreads({ budget: this.#budget, onLost: this.#onLost });
      if (this.#isClosed) this.#threads.close();
    }
    return this.#threads.run(order, user);
  }
}

/** As the codec makes them: on its way from another thread an object gets the usual prototype. */
function withoutPrototype(parameters: Parameters): Parameters {
  return Object.assign(noParameters(), parameters);
}

function numbersBytes(tensors: readonly Tensor[]): number {
  return tensors.reduce((sum, { data }) => sum + (Array.isArray(data) ? 0 : data.byteLength), 0);
}
