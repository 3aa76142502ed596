import { PilotlightError } from '../../contracts/errors.ts';
import { HEADERS } from '../../contracts/headers.ts';
import type { Logger } from '../../process/logger.ts';
import type { Tensor } from '../core/tensor.ts';
import type { Engine, InferenceResult, LoadedModel } from '../ports.ts';
import type { Addressee } from './admission.ts';
import { Deadline } from './deadline.ts';
import type { Exchange } from './exchange.ts';
import type { LargeJson } from './large-json.ts';
import type { StatisticsBook } from './model-statistics.ts';
import { type BodyReading, HeldBytes } from './read-body.ts';
import type { RouteCache } from './router.ts';
import type { Arrival, RequestLoad } from './serving-load.ts';
import type { ServingMetrics } from './serving-metrics.ts';
import type { RoomSize, WaitingRoom } from './waiting-room.ts';

/** What all requests share. */
export interface Serving {
  engine: Engine;
  logger: Logger;
  version: string;
  reading: BodyReading;
  load: RequestLoad;
  room: WaitingRoom;
  statistics: StatisticsBook;
  metrics: ServingMetrics;
  json: LargeJson;
  routes: RouteCache;
  requestTimeoutMs(): number;
}

/**
 * One inference request from its head to its answer: its deadline, the bytes and the place that it holds, and
 * whether its client is still there. It counts as in work until its answer is out **and** the model has let go
 * of it: a running inference can't be interrupted, so a client that left frees its place only then.
 */
export class Work {
  readonly startedMs = performance.now();
  readonly deadlineMs: number;
  readonly held: HeldBytes;
  readonly #serving: Serving;
  readonly #arrival: Arrival;
  readonly #gone = new AbortController();
  #isAnswered = false;
  #isRunning = false;

  /** @param timeoutMs the caller's own, where it brings one; the shorter one counts. */
  constructor(
    serving: Serving,
    exchange: Pick<Exchange, 'headers' | 'onDone'>,
    timeoutMs = Number.POSITIVE_INFINITY,
  ) {
    this.#serving = serving;
    this.#arrival = isDirect(exchange) ? 'direct' : 'proxied';
    this.deadlineMs = this.startedMs + Math.min(timeoutMs, serving.requestTimeoutMs());
    this.held = new HeldBytes(serving.reading.budget);
    serving.load.begin(this.#arrival);
    exchange.onDone((outcome) => this.#done(outcome));
  }

  /** Aborted when the client leaves. */
  get signal(): AbortSignal {
    return this.#gone.signal;
  }

  get json(): LargeJson {
    return this.#serving.json;
  }

  get elapsedMs(): number {
    return performance.now() - this.startedMs;
  }

  /**
   * Waits for a place and runs the model.
   *
   * @param outputs names of the outputs wanted; all when undefined.
   * @param priority the request's own; the default when undefined.
   * @returns the result, with the wait for the place in `queuedMs`.
   * @throws PilotlightError `server-busy`, `inference-timeout`, `client-closed`, and what the model throws.
   */
  async run(
    model: LoadedModel,
    inputs: readonly Tensor[],
    outputs: readonly string[] | undefined,
    priority?: number,
  ): Promise<InferenceResult> {
    const { room, reading } = this.#serving;
    if (this.signal.aborted) throw new PilotlightError('client-closed', 'the client left');
    const waitsFromMs = performance.now();
    const entering = room.enter(
      roomSize(model, reading.limits.maxWaiting),
      this.signal,
      this.deadlineMs,
      priority,
    );
    let waitedMs = 0;
    if (entering !== undefined) {
      await entering;
      waitedMs = performance.now() - waitsFromMs;
    }
    this.#isRunning = true;
    const { deadlineMs, signal } = this;
    const call = {
      inputs,
      deadlineMs,
      signal,
      ...(outputs !== undefined && { outputs }),
      ...(priority !== undefined && { priority }),
    };
    const result = await this.#untilDeadline(callModel(model, call));
    return {
      outputs: outputs === undefined ? result.outputs : inOrder(result.outputs, outputs),
      queuedMs: result.queuedMs + waitedMs,
      computeMs: result.computeMs,
    };
  }

  #untilDeadline(running: Promise<InferenceResult>): Promise<InferenceResult> {
    return new Promise((resolve, reject) => {
      const onPassed = (): void =>
        reject(
          new PilotlightError('inference-timeout', 'the request timeout passed before the model was done'),
        );
      const deadline = new Deadline(this.#serving.reading.watchdog, this.deadlineMs, onPassed);
      const letGo = (): void => {
        deadline.stop();
        this.#isRunning = false;
        this.#serving.room.leave();
        this.#settle();
      };
      running.then(
        (result) => {
          letGo();
          resolve(result);
        },
        (error: unknown) => {
          letGo();
          reject(error instanceof Error ? error : new Error(String(error)));
        },
      );
    });
  }

  #done(outcome: 'answered' | 'left'): void {
    this.#isAnswered = true;
    if (outcome === 'left') this.#gone.abort();
    this.#settle();
  }

  #settle(): void {
    if (!this.#isAnswered || this.#isRunning) return;
    this.held.release();
    this.#serving.load.end(this.#arrival);
  }
}

/** The outputs as the request names them; an engine may give them in the model's order. */
function inOrder(outputs: readonly Tensor[], names: readonly string[]): readonly Tensor[] {
  return names.map((name) => {
    const found = outputs.find((output) => output.name === name);
    if (found !== undefined) return found;
    throw new PilotlightError('inference-failed', `the model gave no output '${name}'`);
  });
}

/** A model that throws instead of rejecting must not cost a place for good. */
function callModel(model: LoadedModel, call: Parameters<LoadedModel['infer']>[0]): Promise<InferenceResult> {
  try {
    return model.infer(call);
  } catch (error) {
    return Promise.reject(error instanceof Error ? error : new Error(String(error)));
  }
}

/** 64 callers that each have one request under way are nothing unusual, and one instance serves them all. */
const LEAST_WAITING = 128;

/** Four requests wait for each that is in work, but so many at least, so that a burst on a small model fits. */
export function roomSize(model: LoadedModel, maxWaiting: number | undefined): RoomSize {
  const { capacity, places = capacity } = model;
  // What waits at the model for its next batch waits there instead of here.
  return {
    capacity: places,
    maxWaiting: maxWaiting ?? Math.max(LEAST_WAITING, 4 * capacity - (places - capacity)),
  };
}

/** Whom the head of a request names. */
export function addresseeOf(
  exchange: Pick<Exchange, 'headers'>,
  { model, version }: { model: string; version: string | undefined },
): Addressee {
  return {
    modelName: model,
    version,
    serviceUid: headerText(exchange, HEADERS.serviceUid),
    revision: headerText(exchange, HEADERS.revision),
    host: headerText(exchange, ':authority') ?? headerText(exchange, 'host'),
  };
}

/** Whether a request comes straight from its caller, not through an activator. */
export function isDirect(exchange: Pick<Exchange, 'headers'>): boolean {
  return exchange.headers[HEADERS.proxiedBy] === undefined;
}

/** A header that may come once; several become one text, as Node joins them. */
export function headerText(exchange: Pick<Exchange, 'headers'>, name: string): string | undefined {
  const value = exchange.headers[name];
  return Array.isArray(value) ? value.join(', ') : value;
}
