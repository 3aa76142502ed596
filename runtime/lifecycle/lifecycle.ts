import type {
  CallersRequest,
  ClaimRequest,
  RuntimeState,
  SpecialiseEvent,
  SpecialiseRequest,
} from '../../contracts/admin.ts';
import { PilotlightError, toPilotlightError } from '../../contracts/errors.ts';
import type { Logger } from '../../process/logger.ts';
import { type LoadObserver, type ModelHandle, modelClosed } from '../engine/load-model.ts';
import type { ProcessLimits } from '../engine/process-limits.ts';
import type { WorkerReserve } from '../engine/worker-reserve.ts';
import type { Claim, Engine, RuntimePhase, ServingLoad } from '../ports.ts';
import { bringUp, type LoadedFiles } from './bring-up.ts';
import {
  type ClaimDecision,
  type ClaimHolding,
  decideDrain,
  decideRecycle,
  decideSpecialise,
} from './claims.ts';
import { EventLog } from './event-log.ts';
import { type LoadOrder, orderOf } from './load-order.ts';
import type { ModelMetrics } from './model-metrics.ts';
import type { StatsTarget } from './stats-push.ts';

export interface LifecycleOptions {
  /** New with each incarnation of the process. */
  incarnation: string;
  /** How often this process has replaced itself. */
  recycles: number;
  /** From the incarnation before, so that a leader that was deposed stays so. */
  highestEpoch: number;
  cacheDir: string;
  cacheMaxBytes: number | undefined;
  limits: ProcessLimits;
  reserve: WorkerReserve;
  logger: Logger;
  metrics: ModelMetrics;
  /** Tells where to push stats once a model serves for a claim. */
  onReady?: (target: StatsTarget) => void;
}

/** The serving port as the life cycle needs it; it is opened after the life cycle exists. */
export interface ServingSide {
  load: ServingLoad;
  /** Tells clients to leave; true once nothing is in flight, false after `deadlineMs`. */
  drain(deadlineMs: number): Promise<boolean>;
  /** Has callers that came straight here leave; connections that still rest after `lingerMs` are closed. */
  sendCallersAway(lingerMs: number): void;
}

/** How long callers' connections may rest where nobody says. */
const NEWS_LINGER_MS = 5_000;
/** A fetch that is given up ends within a few ms; one that doesn't keeps nobody from leaving. */
const GIVE_UP_LIMIT_MS = 1_000;

interface Held {
  claim: Claim | undefined;
  events: EventLog;
  receivedAtMs: number;
  abort: AbortController;
  model: ModelHandle | undefined;
  files: LoadedFiles | undefined;
  /** Resolves when the cache holds nothing for a fetch that was given up. */
  opened: Promise<void>;
  stats: StatsTarget | undefined;
}

/**
 * The states of a runtime: standby → specialising → ready → draining, or failed. It goes back to standby only by
 * replacing the process, so that nothing of a model is left.
 */
export class Lifecycle implements Engine {
  readonly #options: LifecycleOptions;
  #phase: RuntimePhase = { phase: 'standby' };
  #held: Held | undefined;
  #highestEpoch: number;
  #requestTimeoutMs: number | undefined;
  #welcomesCallers = false;
  /** By `performance.now()`: when callers who had been welcome were told to leave. Some have not heard of it for seconds. */
  #sentAwayAtMs: number | undefined;
  #ranUserCode = false;
  #serving: ServingSide | undefined;

  constructor(options: LifecycleOptions) {
    this.#options = options;
    this.#highestEpoch = options.highestEpoch;
  }

  get current(): RuntimePhase {
    return this.#phase;
  }

  get welcomesCallers(): boolean {
    return this.#welcomesCallers || this.#held?.claim === undefined;
  }

  get highestEpoch(): number {
    return this.#highestEpoch;
  }

  /** Time limit of a request under the claim; undefined before it. */
  get requestTimeoutMs(): number | undefined {
    return this.#requestTimeoutMs;
  }

  attach(serving: ServingSide): void {
    this.#serving = serving;
  }

  /**
   * Takes a claim, or finds the one it has.
   *
   * @returns the events of the claim, from its start.
   * @throws PilotlightError `claim-conflict` or `stale-epoch`.
   */
  specialise(request: SpecialiseRequest): EventLog {
    const decision = this.#decide(decideSpecialise, request);
    if (decision.kind === 'same' && this.#held !== undefined) {
      // Whoever leads now says where the stats go and with which token.
      Object.assign(this.#held.stats ?? {}, request.stats);
      // And whether callers may come straight here: until then they may not.
      this.#welcome(false, NEWS_LINGER_MS);
      return this.#held.events;
    }
    const { claimId, epoch, revision, service } = request;
    const { namespace, name } = service;
    const claim: Claim = { claimId, epoch, serviceUid: service.uid, revision, service: { namespace, name } };
    this.#options.metrics.label({ namespace: service.namespace, service: service.name });
    const { stats } = request;
    const target: StatsTarget = { ...stats, claim, claimedAtMs: performance.now() };
    const held = this.#hold(claim, orderOf(request));
    held.stats = target;
    void this.#load(held, orderOf(request)).then((ready) => {
      if (ready) this.#options.onReady?.(target);
    });
    return held.events;
  }

  /** Loads for nobody's claim: a model server on its own. @throws PilotlightError when the model can't be had. */
  async serve(order: LoadOrder): Promise<void> {
    const held = this.#hold(undefined, order);
    await this.#load(held, order);
    if (this.#phase.phase === 'failed') throw this.#phase.error;
  }

  /** Callers may come straight here from now on, or are to leave. @throws PilotlightError `claim-conflict`, `stale-epoch`. */
  callers(request: CallersRequest): void {
    this.#decide(decideDrain, request);
    this.#welcome(request.welcome, request.lingerMs);
  }

  /**
   * For this process itself, when it has to end.
   *
   * @returns since when callers who came straight here are told to leave, by `performance.now()`: whoever leads them
   *   may have told them before. Undefined when there can be none.
   */
  sendCallersAway(): number | undefined {
    this.#welcome(false, NEWS_LINGER_MS);
    return this.#sentAwayAtMs;
  }

  #welcome(isWelcome: boolean, lingerMs: number): void {
    if (this.#welcomesCallers === isWelcome) return;
    this.#welcomesCallers = isWelcome;
    this.#sentAwayAtMs = isWelcome ? undefined : performance.now();
    this.#options.logger.info({ welcome: isWelcome }, 'direct callers');
    if (!isWelcome) this.#serving?.sendCallersAway(lingerMs);
  }

  /**
   * Refuses new work and waits until nothing is in flight. A load that is going on is given up, and a standby
   * takes no claim any more.
   *
   * @returns false when the deadline passed first.
   * @throws PilotlightError `claim-conflict` or `stale-epoch`.
   */
  async drain(request: ClaimRequest): Promise<boolean> {
    this.#decide(decideDrain, request);
    return this.leave(request.deadlineMs);
  }

  /** Drains on behalf of this process itself, for SIGTERM. */
  async leave(deadlineMs: number): Promise<boolean> {
    const phase = this.#phase;
    if (phase.phase === 'ready') {
      this.#phase = { phase: 'draining', model: phase.model, claim: phase.claim };
      this.#options.logger.info({ deadlineMs }, 'draining');
    } else if (phase.phase === 'specialising') {
      this.#phase = { phase: 'draining', model: undefined, claim: phase.claim };
      this.#held?.abort.abort(
        new PilotlightError('draining', 'the runtime was told to drain while it loaded the model'),
      );
    } else if (phase.phase === 'standby') {
      this.#phase = { phase: 'draining', model: undefined, claim: undefined };
    }
    return this.#serving === undefined ? true : this.#serving.drain(deadlineMs);
  }

  /** Checks that the process may be replaced now. @throws PilotlightError `claim-conflict` or `stale-epoch`. */
  allowRecycle(request: ClaimRequest): void {
    this.#decide(decideRecycle, request);
  }

  /**
   * Gives the lease on cached files back, before the process is replaced or ends. A fetch that was given up still
   * holds its lock for a moment: a process that replaced itself meanwhile would seem to hold it for minutes.
   */
  async letGo(): Promise<void> {
    const held = this.#held;
    if (held === undefined) return;
    held.abort.abort(modelClosed());
    await Promise.race([held.opened, new Promise((resolve) => setTimeout(resolve, GIVE_UP_LIMIT_MS))]);
    await held.files?.release();
  }

  /** Without `cachedModels`, which only the cache knows. */
  state(): Omit<RuntimeState, 'cachedModels'> {
    const phase = this.#phase;
    const claim = phase.phase === 'standby' ? undefined : phase.claim;
    const load = this.#serving?.load.snapshot();
    return {
      incarnation: this.#options.incarnation,
      recycles: this.#options.recycles,
      highestEpoch: this.#highestEpoch,
      state: phase.phase,
      ...(claim === undefined
        ? {}
        : { claim: { ...claim, ...(phase.phase === 'ready' ? { capacity: phase.model.capacity } : {}) } }),
      ...(phase.phase === 'failed'
        ? { failure: { code: phase.error.code, message: phase.error.message } }
        : {}),
      inFlight: load === undefined ? 0 : load.direct.inFlight + load.proxied.inFlight,
      residentBytes: process.memoryUsage.rss(),
    };
  }

  #decide<Call extends { claimId: string; epoch: number }>(
    decide: (holding: ClaimHolding, call: Call) => ClaimDecision,
    call: Call,
  ): ClaimDecision {
    const holding = {
      phase: this.#phase.phase,
      claimId: this.#held?.claim?.claimId,
      highestEpoch: this.#highestEpoch,
      ranUserCode: this.#ranUserCode,
    };
    const decision = decide(holding, call);
    if (decision.kind === 'refuse') throw new PilotlightError(decision.code, decision.message);
    this.#highestEpoch = Math.max(this.#highestEpoch, call.epoch);
    return decision;
  }

  #hold(claim: Claim | undefined, order: LoadOrder): Held {
    const held: Held = {
      claim,
      events: new EventLog(),
      receivedAtMs: performance.now(),
      abort: new AbortController(),
      model: undefined,
      files: undefined,
      opened: Promise.resolve(),
      stats: undefined,
    };
    this.#held = held;
    this.#requestTimeoutMs = order.requestTimeoutMs;
    this.#welcomesCallers = false;
    this.#serving?.load.reset();
    this.#phase = { phase: 'specialising', modelName: order.name, claim };
    held.events.push({ event: 'claimed', elapsedMs: 0 });
    return held;
  }

  /** @returns whether the model serves now. */
  async #load(held: Held, order: LoadOrder): Promise<boolean> {
    const { logger, metrics } = this.#options;
    const elapsedMs = (): number => performance.now() - held.receivedAtMs;
    const tell = (event: SpecialiseEvent): void => {
      held.events.push(event);
      metrics.event(event);
    };
    try {
      const { model, files, parity } = await bringUp(order, {
        ...this.#options,
        signal: held.abort,
        elapsedMs,
        tell,
        observer: this.#observer(held, order),
        onOpening: (opening) => {
          held.opened = opening.then(
            (late) => (held.abort.signal.aborted ? late.release() : undefined),
            () => undefined,
          );
        },
        onFiles: (opened) => {
          held.files = opened;
        },
        onUserCode: () => {
          this.#ranUserCode = true;
        },
      });
      held.model = model;
      held.files = files;
      if (this.#phase.phase !== 'specialising') {
        await model.close(modelClosed());
        throw modelClosed();
      }
      this.#phase = { phase: 'ready', model, claim: held.claim };
      metrics.model = model;
      const { capacity, sizeBytes } = model;
      tell({ event: 'ready', elapsedMs: elapsedMs(), capacity, ...(parity !== undefined && { parity }) });
      logger.info({ model: order.name, elapsedMs: elapsedMs(), sizeBytes, capacity, parity }, 'model ready');
      return true;
    } catch (thrown) {
      const error = toPilotlightError(thrown);
      if (this.#phase.phase === 'specialising') {
        this.#phase = { phase: 'failed', modelName: order.name, claim: held.claim, error };
      }
      tell({ event: 'failed', elapsedMs: elapsedMs(), code: error.code, message: error.message });
      logger.error({ model: order.name, code: error.code, err: error }, 'model not loaded');
      void held.files?.release().catch(() => undefined);
      return false;
    }
  }

  #observer(held: Held, order: LoadOrder): LoadObserver {
    const { logger, metrics } = this.#options;
    const elapsedMs = (): number => performance.now() - held.receivedAtMs;
    const tell = (event: 'created' | 'warmed'): void => {
      const line = { event, elapsedMs: elapsedMs() };
      held.events.push(line);
      metrics.event(line);
    };
    return {
      created: () => tell('created'),
      warmed: () => tell('warmed'),
      warmUpSkipped: (reason) =>
        logger.info({ model: order.name, reason }, 'no warm-up run; the first request will be slower'),
      notCompiled: (reason) =>
        logger.info({ model: order.name, reason }, 'the optimised graph was not kept for the next start'),
      compiledIgnored: (reason) =>
        logger.warn({ model: order.name, reason }, 'the form compiled ahead of time is not used'),
      trouble: (error) =>
        logger.error(
          { model: order.name, code: error.code, err: error },
          'an instance of the model was lost',
        ),
      notAccelerated: (error) =>
        logger.warn({ model: order.name, code: error.code, err: error }, 'the CPU serves instead of a GPU'),
      moduleTrouble: (error) =>
        logger.error(
          { model: order.name, code: error.code, err: error },
          'the thread of the service’s own code was lost',
        ),
      broken: (error) => {
        logger.error({ model: order.name, code: error.code, err: error }, 'no instance of the model is left');
        if (this.#phase.phase !== 'ready') return;
        this.#phase = { phase: 'failed', modelName: order.name, claim: held.claim, error };
      },
      batchesTried: (verdict) =>
        logger.info(
          { model: order.name, ...verdict },
          verdict.kind === 'gain' ? 'requests are run together from now on' : 'requests are run one by one',
        ),
      ran: (facts) => metrics.ran(facts),
      batchFailed: (error) => {
        metrics.batchFailures += 1;
        logger.warn(
          { model: order.name, code: error.code, err: error },
          'requests failed together, each is run alone',
        );
      },
    };
  }
}
