import { PilotlightError, toPilotlightError } from '../../contracts/errors.ts';
import type { Tensor } from '../core/tensor.ts';
import type { InferenceCall, InferenceResult } from '../ports.ts';
import { Instance } from './instance.ts';
import type { SessionPlan } from './session-options.ts';
import {
  clientClosed,
  unwantedReason,
  type WaitingCall,
  type WaitingLimits,
  WaitingList,
  waitedTooLong,
} from './waiting-list.ts';

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
  /** How long a run may go on after its caller was told of the time-out, before its worker is given up. */
  hangGraceMs: number;
  /** An instance was lost or could not be made; the pool goes on. */
  onTrouble: (error: PilotlightError) => void;
  /** No instance is left and none could be made: the model can't serve any more. */
  onBroken: (error: PilotlightError) => void;
  onInference?: (queuedMs: number, computeMs: number, inputs: readonly Tensor[]) => void;
}

/** Attempts to replace lost instances without a successful run in between, before the pool is called broken. */
const MAX_REPLACEMENTS_IN_A_ROW = 3;
/** Where nobody calls, settling begins after this: a request that was expected has gone elsewhere. */
const SETTLE_AFTER_MS = 1_000;
const LONGEST_TIMER_MS = 2 ** 31 - 1;

/**
 * The instances of one model. An idle instance takes the oldest waiting call. An instance that dies, or that
 * hangs past its grace, is replaced by a new one with the same session plan; a hung thread can't be stopped
 * from outside (see `Instance.retire`), so it ends when ONNX Runtime returns or with the process.
 */
export class InstancePool {
  readonly #options: InstancePoolOptions;
  readonly #idle: Instance[] = [];
  readonly #all = new Set<Instance>();
  readonly #waiting: WaitingList;
  /** Workers that end once ONNX Runtime lets go of them. */
  readonly #leaving = new Set<Promise<void>>();
  #plan: SessionPlan;
  readonly #answered = Promise.withResolvers<void>();
  #making = 0;
  #replacementsInARow = 0;
  #closed: PilotlightError | undefined;

  constructor(first: Instance, options: InstancePoolOptions) {
    this.#options = options;
    this.#waiting = new WaitingList(options.waiting);
    this.#plan = options.plan;
    this.#adopt(first);
  }

  /** Instances that have a session now. */
  get instances(): number {
    return this.#all.size;
  }

  get waiting(): number {
    return this.#waiting.size;
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
    const instance = this.#waiting.size === 0 ? this.#idle.pop() : undefined;
    if (instance !== undefined) return this.#run(instance, call, 0);
    return this.#wait(call, nowMs);
  }

  /** Rejects what waits; resolves when all threads are gone, which those that work are once they have answered. */
  async close(reason: PilotlightError): Promise<void> {
    this.#closed ??= reason;
    this.#answered.resolve();
    this.#waiting.rejectAll(reason);
    const instances = [...this.#all];
    this.#all.clear();
    this.#idle.length = 0;
    for (const instance of instances) this.#retire(instance);
    await Promise.all(this.#leaving);
  }

  #wait(call: InferenceCall, queuedAtMs: number): Promise<InferenceResult> {
    return new Promise((resolve, reject) => {
      const stopWaiting = (): void => {
        clearTimeout(timer);
        call.signal.removeEventListener('abort', onAbort);
      };
      const waiting: WaitingCall = {
        call,
        queuedAtMs,
        sizeBytes: sizeBytesOf(call.inputs),
        take: () => {
          stopWaiting();
          const instance = this.#idle.pop();
          if (instance === undefined)
            reject(new PilotlightError('internal', 'a call was taken without an instance'));
          else resolve(this.#run(instance, call, performance.now() - queuedAtMs));
        },
        reject: (error) => {
          stopWaiting();
          reject(error);
        },
      };
      const drop = (error: PilotlightError): void => {
        if (this.#waiting.remove(waiting)) waiting.reject(error);
      };
      const onAbort = (): void => drop(clientClosed());
      const timer = setTimeout(() => drop(waitedTooLong()), clampMs(call.deadlineMs - queuedAtMs));
      call.signal.addEventListener('abort', onAbort, { once: true });
      try {
        this.#waiting.add(waiting);
      } catch (error) {
        waiting.reject(toPilotlightError(error));
      }
    });
  }

  async #run(instance: Instance, call: InferenceCall, queuedMs: number): Promise<InferenceResult> {
    const { inputs } = call;
    const run = instance.run(inputs, call.outputs).then((result) => {
      this.#replacementsInARow = 0;
      this.#answered.resolve();
      this.#options.onInference?.(queuedMs, result.computeMs, inputs);
      return result;
    });
    const timeout = new Promise<never>((_, reject) => {
      const limitMs = call.deadlineMs - performance.now();
      const timer = setTimeout(() => {
        reject(
          new PilotlightError(
            'inference-timeout',
            `the model did not answer within the time limit of the request (it ran for ${Math.round(limitMs)} ms)`,
          ),
        );
        const grace = setTimeout(() => this.#giveUp(instance), clampMs(this.#options.hangGraceMs));
        run.finally(() => clearTimeout(grace)).catch(() => undefined);
      }, clampMs(limitMs));
      run.finally(() => clearTimeout(timer)).catch(() => undefined);
    });
    run.then(
      () => this.#free(instance),
      () => this.#free(instance),
    );
    timeout.catch(() => undefined);
    const { outputs, computeMs } = await Promise.race([run, timeout]);
    // The client left while it ran: the slot was taken until now, and is counted until now.
    if (call.signal.aborted) throw clientClosed();
    return { outputs, queuedMs, computeMs };
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
    this.#waiting.next(performance.now())?.take();
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

/** Characters of strings count two bytes, as in memory at worst. */
function sizeBytesOf(tensors: readonly Tensor[]): number {
  let sum = 0;
  for (const { data } of tensors) {
    if (Array.isArray(data)) for (const text of data) sum += text.length * 2;
    else sum += data.byteLength;
  }
  return sum;
}

function clampMs(ms: number): number {
  return Math.max(0, Math.min(ms, LONGEST_TIMER_MS));
}
