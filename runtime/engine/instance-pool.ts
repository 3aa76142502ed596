import { PilotlightError, toPilotlightError } from '../../contracts/errors.ts';
import { type BatchRule, batchTraits, NO_BATCHING } from '../core/batching.ts';
import type { InferenceCall, InferenceResult } from '../ports.ts';
import { Alarm } from './alarm.ts';
import { type Caller, inseparable, type RunFacts, runTogether, sizeBytesOf } from './batch-run.ts';
import { Instance } from './instance.ts';
import type { SessionPlan } from './session-options.ts';
import { clientClosed, unwantedReason, type WaitingLimits, WaitingList } from './waiting-list.ts';

export interface InstancePoolOptions {
  /** Of every instance, until another one takes its place. */
  plan: SessionPlan;
  /** Asked once, behind the first answer, for a plan that runs faster; then every instance is replaced. Must not reject. */
  settle?: (() => Promise<SessionPlan | undefined>) | undefined;
  /** Every instance is of the settled plan now. */
  onSettled?: (() => void) | undefined;
  /** Instances wanted; `first` is one of them. */
  size: number;
  waiting: WaitingLimits;
  /** How calls are put together, until `batch` says otherwise. */
  rule: BatchRule;
  /** How long a run may go on after its caller was told of the time-out, before its worker is given up. */
  hangGraceMs: number;
  /** An instance was lost or could not be made; the pool goes on. */
  onTrouble: (error: PilotlightError) => void;
  /** No instance is left and none could be made: the model can't serve any more. */
  onBroken: (error: PilotlightError) => void;
  onRan: (facts: RunFacts) => void;
  /** A run of several calls failed; each was run alone. */
  onBatchFailed: (error: PilotlightError) => void;
}

/** Attempts to replace lost instances without a successful run in between, before the pool is called broken. */
const MAX_REPLACEMENTS_IN_A_ROW = 3;
/** Where nobody calls, settling begins after this: a request that was expected has gone elsewhere. */
const SETTLE_AFTER_MS = 1_000;

/**
 * The instances of one model. An idle instance takes what `chooseBatch` says of what waits. An instance that dies, or
 * that hangs past its grace, is replaced by a new one with the same session plan; a hung thread can't be stopped
 * from outside (see `Instance.retire`), so it ends when ONNX Runtime returns or with the process.
 */
export class InstancePool {
  readonly #options: InstancePoolOptions;
  readonly #idle: Instance[] = [];
  readonly #all = new Set<Instance>();
  readonly #waiting: WaitingList<Caller>;
  /** Workers that end once ONNX Runtime lets go of them. */
  readonly #leaving = new Set<Promise<void>>();
  #plan: SessionPlan;
  readonly #answered = Promise.withResolvers<void>();
  #rule: BatchRule;
  /** The last run was of several calls: the next call probably has company on its way. */
  #isBusy = false;
  #isDispatchDue = false;
  /** When a batch has waited for as long as it may. */
  readonly #ripe = new Alarm(() => this.#dispatch());
  /** When the deadline of a call passes that waits. */
  readonly #overdue = new Alarm(() => this.#overdue.notLaterThan(this.#waiting.sweep(performance.now())));
  #making = 0;
  #replacementsInARow = 0;
  #closed: PilotlightError | undefined;

  constructor(first: Instance, options: InstancePoolOptions) {
    this.#options = options;
    this.#waiting = new WaitingList(options.waiting);
    this.#plan = options.plan;
    this.#rule = options.rule;
    this.#adopt(first);
  }

  get waiting(): number {
    return this.#waiting.size;
  }

  /** Of new instances. */
  get plan(): SessionPlan {
    return this.#plan;
  }

  /** From the next call on. */
  batch(rule: BatchRule, maxCalls: number): void {
    this.#rule = rule;
    this.#waiting.allow(maxCalls);
  }

  /**
   * Makes instances up to the wanted number one after the other, from `spares` first. Then, behind the first answer,
   * ones of the settled plan, each in the place of an older one, which goes when it is idle.
   */
  async grow(spares: Instance[]): Promise<void> {
    const make = (): Promise<boolean> => this.#make(spares.shift() ?? new Instance());
    try {
      while (this.#all.size + this.#making < this.#options.size && this.#closed === undefined) {
        if (!(await make())) return;
      }
      if (this.#options.settle === undefined) return;
      const waited = setTimeout(() => this.#answered.resolve(), SETTLE_AFTER_MS);
      await this.#answered.promise;
      clearTimeout(waited);
      if (this.#closed !== undefined) return;
      const plan = await this.#options.settle();
      if (plan === undefined || this.#closed !== undefined) return;
      const before = this.#plan;
      this.#plan = plan;
      for (const outdated of Array.from(this.#all)) {
        if (!(await make())) {
          this.#plan = before;
          return;
        }
        this.#dismiss(outdated);
      }
      this.#options.onSettled?.();
    } finally {
      for (const spare of spares) this.#retire(spare);
    }
  }

  /** One inference: see `LoadedModel.infer`. The memory of large inputs is handed over to the worker. */
  infer(call: InferenceCall): Promise<InferenceResult> {
    const nowMs = performance.now();
    const refusal = this.#closed ?? unwantedReason(call, nowMs);
    if (refusal !== undefined) return Promise.reject(refusal);
    return new Promise((resolve, reject) => {
      const { signal } = call;
      const drop = (): void => {
        if (this.#waiting.remove(caller)) reject(clientClosed());
      };
      const caller: Caller = {
        ...batchTraits(call.inputs, call.outputs, this.#rule),
        call,
        queuedAtMs: nowMs,
        sizeBytes: sizeBytesOf(call.inputs),
        resolve,
        reject: (error) => {
          signal.removeEventListener('abort', drop);
          reject(error);
        },
      };
      const isTakenAtOnce =
        this.#waiting.size === 0 && !this.#isBusy && this.#rule.maxLatencyMs === 0 && this.#idle.length > 0;
      if (isTakenAtOnce) {
        const instance = this.#idle.pop();
        if (instance !== undefined) void this.#run(instance, [caller], nowMs);
        return;
      }
      try {
        this.#waiting.add(caller);
      } catch (error) {
        reject(toPilotlightError(error));
        return;
      }
      signal.addEventListener('abort', drop, { once: true });
      this.#overdue.notLaterThan(call.deadlineMs);
      if (this.#idle.length > 0) this.#dispatchSoon();
    });
  }

  /** Rejects what waits; resolves when all threads are gone, which those that work are once they have answered. */
  async close(reason: PilotlightError): Promise<void> {
    this.#closed ??= reason;
    this.#answered.resolve();
    this.#waiting.rejectAll(reason);
    this.#ripe.stop();
    this.#overdue.stop();
    const instances = [...this.#all];
    this.#all.clear();
    this.#idle.length = 0;
    for (const instance of instances) this.#retire(instance);
    await Promise.all(this.#leaving);
  }

  /**
   * Behind what the event loop is at now: requests that came in together are all read by then, so that the first of
   * them doesn't leave without the rest. It costs microseconds.
   */
  #dispatchSoon(): void {
    if (this.#isDispatchDue) return;
    this.#isDispatchDue = true;
    setImmediate(() => {
      this.#isDispatchDue = false;
      this.#dispatch();
    });
  }

  /** Gives idle instances what waits. */
  #dispatch(): void {
    this.#ripe.stop();
    while (this.#idle.length > 0) {
      const nowMs = performance.now();
      const choice = this.#waiting.next(this.#rule, nowMs);
      if (choice.kind === 'nothing') return;
      if (choice.kind === 'wait') {
        this.#ripe.notLaterThan(choice.untilMs);
        return;
      }
      const instance = this.#idle.pop();
      if (instance !== undefined) void this.#run(instance, choice.calls, nowMs);
    }
  }

  async #run(instance: Instance, callers: readonly Caller[], nowMs: number): Promise<void> {
    await runTogether(instance, callers, nowMs, {
      hangGraceMs: this.#options.hangGraceMs,
      onRan: (facts) => {
        this.#replacementsInARow = 0;
        this.#isBusy = this.#rule.maxBatchSize > 1 && facts.calls > 1;
        this.#answered.resolve();
        this.#options.onRan(facts);
      },
      onBatchFailed: this.#options.onBatchFailed,
      onInseparable: () => {
        this.#rule = NO_BATCHING;
        this.#options.onTrouble(inseparable());
      },
      onHang: () => this.#giveUp(instance),
    });
    this.#free(instance);
  }

  #adopt(instance: Instance): void {
    this.#all.add(instance);
    instance.onLost = (error) => this.#replace(instance, error);
    this.#free(instance);
  }

  #dismiss(instance: Instance): void {
    if (!this.#all.delete(instance)) return;
    const index = this.#idle.indexOf(instance);
    if (index !== -1) this.#idle.splice(index, 1);
    this.#retire(instance);
  }

  #free(instance: Instance): void {
    if (instance.lost || !this.#all.has(instance)) return;
    this.#idle.push(instance);
    this.#dispatch();
  }

  #giveUp(instance: Instance): void {
    const error = new PilotlightError(
      'inference-timeout',
      `an inference still runs ${this.#options.hangGraceMs} ms after its time limit; its worker is replaced`,
    );
    this.#retire(instance);
    this.#replace(instance, error);
  }

  #retire(instance: Instance): void {
    this.#leave(instance.retire());
  }

  #leave(over: Promise<void>): void {
    const leaving = over.finally(() => this.#leaving.delete(leaving));
    this.#leaving.add(leaving);
  }

  #replace(instance: Instance, error: PilotlightError): void {
    if (!this.#all.delete(instance) || this.#closed !== undefined) return;
    const index = this.#idle.indexOf(instance);
    if (index !== -1) this.#idle.splice(index, 1);
    this.#options.onTrouble(error);
    this.#replacementsInARow += 1;
    if (this.#replacementsInARow > MAX_REPLACEMENTS_IN_A_ROW) {
      this.#breakIfEmpty(error);
      return;
    }
    void this.#make(new Instance());
  }

  async #make(instance: Instance): Promise<boolean> {
    this.#making += 1;
    try {
      await instance.create(this.#plan);
    } catch (error) {
      this.#making -= 1;
      this.#retire(instance);
      const known = toPilotlightError(error);
      this.#options.onTrouble(known);
      this.#breakIfEmpty(known);
      return false;
    }
    this.#making -= 1;
    if (this.#closed !== undefined) {
      this.#retire(instance);
      return false;
    }
    this.#adopt(instance);
    return true;
  }

  #breakIfEmpty(error: PilotlightError): void {
    if (this.#all.size > 0 || this.#making > 0 || this.#closed !== undefined) return;
    this.#closed = error;
    this.#waiting.rejectAll(error);
    this.#options.onBroken(error);
  }
}
