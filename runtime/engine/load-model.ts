import type { ExecutionOrder } from '../../contracts/admin.ts';
import { PilotlightError } from '../../contracts/errors.ts';
import { saysItsBatch } from '../core/batch-dimension.ts';
import { type BatchRule, NO_BATCHING } from '../core/batching.ts';
import type { ModelSignature } from '../core/model-signature.ts';
import type { LoadedModel } from '../ports.ts';
import type { RunFacts } from './batch-run.ts';
import { BatchTrial, rememberedBatchSize, type TrialVerdict } from './batch-trial.ts';
import type { Comparable } from './compare-sessions.ts';
import { ExecutionBook } from './execution-counts.ts';
import { createAccelerated, createFirst, needOf } from './first-session.ts';
import { InstancePool } from './instance-pool.ts';
import { anonymousBytes, fittingInstances } from './memory-fit.ts';
import { ModelBatching } from './model-batching.ts';
import type { ModelForms } from './model-forms.ts';
import type { ProcessLimits } from './process-limits.ts';
import { type SessionPlan, settledPlan } from './session-options.ts';
import { Settling } from './settling.ts';
import { signatureOf } from './signature.ts';
import { type ModelFiles, plainStart, type StartingPoint } from './starting-point.ts';
import type { InputShape } from './trial-inputs.ts';
import { unlessAborted } from './unless-aborted.ts';
import { type WarmUp, warmUp } from './warm-up.ts';
import type { WorkerReserve } from './worker-reserve.ts';

export interface LoadModelOptions {
  name: string;
  versions: readonly string[];
  modelPath: string;
  /** All files, `modelPath` first. */
  files: readonly string[];
  sizeBytes: number;
  threadsPerInstance: number;
  instances: number;
  /** The CPU when absent. */
  execution?: ExecutionOrder | undefined;
  /** Whether the number of instances was asked for, or is a default that may shrink to what fits. */
  instancesWanted: boolean;
  /** Requests at once; the number of instances when absent. */
  containerConcurrency?: number | undefined;
  /** How requests are put together. Absent: the model says whether they can be, and a trial whether that pays. */
  batching?: BatchRule | undefined;
  /** What the model is to take and give, given what it can; throws where that can't be had. */
  narrow?: ((signature: ModelSignature) => ModelSignature) | undefined;
  /** Run on samples, or once on made-up input, before the model is handed out. */
  warmUp: boolean;
  warmUpSamples?: WarmUp['samples'];
  /** Has its say before the model is handed out; throws for one that is not to serve. */
  prove?: ((candidate: Comparable) => Promise<void>) | undefined;
  limits: ProcessLimits;
  reserve: WorkerReserve;
  /** Aborted when the time to start is over or the load is no longer wanted. */
  signal: AbortSignal;
  observer: LoadObserver;
  hangGraceMs?: number;
  /** Where forms of the model are kept that start faster; absent: each start begins with the model as it is. */
  forms?: ModelForms | undefined;
  /** Where it is kept what was found out about the model; where its forms are, when absent. */
  kept?: ModelForms | undefined;
  /** What `findStart` has found; loading gives its lease back. The model as it is when absent. */
  start?: StartingPoint | undefined;
  /** Set when the model's own files aren't here: brings them, should `start` be of no use. */
  bringOriginal?: (() => Promise<ModelFiles>) | undefined;
}

/** What goes on while a model loads and serves; nothing is awaited. */
export interface LoadObserver {
  created: (createMs: number) => void;
  warmed: (warmUpMs: number) => void;
  /** The made-up run was left out or failed: not a failure of the model. */
  warmUpSkipped: (reason: string) => void;
  /** A form of the model that starts faster could not be made or used; it is served as well as it can be. */
  notCompiled?: (reason: string) => void;
  /** A form that was compiled ahead of time lies beside the model and is not used. */
  compiledIgnored?: (reason: string) => void;
  /** The accelerator that was asked for can't be had; the CPU serves. */
  notAccelerated?: (error: PilotlightError) => void;
  /** Every instance has the session that runs fastest now. */
  settled?: (kind: StartingPoint['kind']) => void;
  /** An instance was lost or could not be made; the model serves on. */
  trouble: (error: PilotlightError) => void;
  /** The thread of the service's own code was lost; another one takes its place. */
  moduleTrouble?: (error: PilotlightError) => void;
  /** No instance is left: the model serves no more. */
  broken: (error: PilotlightError) => void;
  ran: (facts: RunFacts) => void;
  /** Whether batches pay, for a model that says which dimension they are. */
  batchesTried?: (verdict: TrialVerdict) => void;
  /** Requests that were run together failed, and were run one by one. */
  batchFailed: (error: PilotlightError) => void;
}

export interface ModelHandle extends LoadedModel {
  /** Calls that wait for an instance now. */
  readonly waiting: number;
  /** Ends the workers; what waits is rejected with `reason`. */
  close(reason: PilotlightError): Promise<void>;
  /** Ends what goes on behind the answers, and gives leases back; serves on from what is mapped. Idempotent. */
  letGo(): Promise<void>;
}

const DEFAULT_HANG_GRACE_MS = 30_000;
const WAITING_BYTES = 512 * 1024 * 1024;

/**
 * Creates the sessions of a model. Resolves as soon as the first instance serves; further ones are made
 * behind it, and calls wait for the first until then. Behind the first answer better forms of the model are made and
 * served from.
 *
 * @throws PilotlightError with a `model-*` code; the signal's reason when it is aborted.
 */
export async function loadModel(options: LoadModelOptions): Promise<ModelHandle> {
  const { signal, observer, forms } = options;
  const given = options.start ?? plainStart(options);
  const first = options.reserve.take();
  let holding = given;
  // Beside the session: it has to be known when that is there.
  const kept = options.kept ?? forms;
  const remembering =
    options.batching === undefined ? rememberedBatchSize(kept, options.threadsPerInstance) : undefined;
  try {
    signal.throwIfAborted();
    const onNext = (next: StartingPoint): void => {
      holding = next;
    };
    const made =
      (await createAccelerated(first, options)) ?? (await createFirst(first, given, options, onNext));
    observer.created(made.metadata.createMs);
    const whole = signatureOf(made.metadata.inputs, made.metadata.outputs);
    const plain = options.narrow?.(whole) ?? whole;
    const isNarrower = plain.outputs.length < whole.outputs.length;
    // What a session takes on another device is not known, so there is none to try it with.
    const isAutomatic =
      options.batching === undefined &&
      options.containerConcurrency !== 1 &&
      !made.isAccelerated &&
      saysItsBatch(whole);
    const known = isAutomatic ? await remembering : undefined;
    const batching = new ModelBatching(plain, options.batching ?? ruleOf(known), {
      instances: made.fitting,
      containerConcurrency: options.containerConcurrency,
    });
    if (options.warmUp) {
      const warming = warmUp(first, plain, { samples: options.warmUpSamples, signal, observer });
      await unlessAborted(warming, signal);
    }
    if (options.prove !== undefined) {
      await unlessAborted(options.prove({ instance: first, signature: whole }), signal);
    }
    const settling =
      forms === undefined || made.isAccelerated
        ? undefined
        : new Settling({
            forms,
            start: made.start,
            sizeBytes: options.sizeBytes,
            freeBytes: () => options.limits.memoryBytes - anonymousBytes(),
            onNotCompiled: (reason) => observer.notCompiled?.(reason),
          });
    const settle = async (): Promise<SessionPlan | undefined> => {
      if (made.isAccelerated) return undefined;
      const better = await settling?.settle();
      const next = better ?? made.start;
      const plan = settledPlan(next, options);
      const isBetter = next.kind !== made.start.kind || !isSame(plan, made.plan);
      // For a while the old session and the new one need room side by side.
      if (!isBetter || fittingInstances(needOf(plan, made.fitting + 1, options)) <= made.fitting) {
        await better?.release();
        return undefined;
      }
      if (better !== undefined) {
        const before = holding;
        holding = better;
        await before.release();
        // The optimised form starts as fast and runs faster; the model itself is there to make another.
        if (before.kind === 'external') await forms?.evict('external');
      }
      return plan;
    };
    const answered = Promise.withResolvers<readonly InputShape[]>();
    const executions = new ExecutionBook(() => batching.rule.maxBatchSize);
    const pool = new InstancePool(first, {
      plan: made.plan,
      settle,
      onSettled: () => observer.settled?.(holding.kind),
      size: made.fitting,
      waiting: { maxCalls: batching.waitingCalls, maxBytes: WAITING_BYTES },
      rule: batching.rule,
      hangGraceMs: options.hangGraceMs ?? DEFAULT_HANG_GRACE_MS,
      onTrouble: observer.trouble,
      onBroken: observer.broken,
      onRan: (facts) => {
        executions.record(facts);
        answered.resolve(facts.inputs);
        observer.ran(facts);
      },
      onBatchFailed: observer.batchFailed,
    });
    const trial = new BatchTrial({
      kept,
      threadsPerInstance: options.threadsPerInstance,
      plan: () => pool.plan,
      isRoomForOne: () => fittingInstances(needOf(pool.plan, made.fitting + 1, options)) > made.fitting,
    });
    const tryIt = async (): Promise<void> => {
      const verdict = await trial.decide(await answered.promise);
      if (verdict?.kind === 'gain') {
        batching.use(ruleOf(verdict.maxBatchSize) ?? NO_BATCHING);
        pool.batch(batching.rule, batching.waitingCalls);
      }
      if (verdict !== undefined) observer.batchesTried?.(verdict);
    };
    const grown = pool.grow(options.reserve.takeAll());
    if (isAutomatic && known === undefined) void grown.then(tryIt);
    const letGo = async (): Promise<void> => {
      const trying = trial.stop();
      await settling?.stop();
      await holding.release();
      // A run can't be broken off; nobody who leaves is kept by one.
      void trying;
    };
    return {
      name: options.name,
      versions: options.versions,
      sizeBytes: options.sizeBytes,
      instanceGroup: { kind: made.isAccelerated ? 'KIND_GPU' : 'KIND_CPU', count: made.fitting },
      get signature() {
        return batching.signature;
      },
      get capacity() {
        return batching.capacity;
      },
      get places() {
        return batching.places;
      },
      get maxLatencyMs() {
        return batching.maxLatencyMs;
      },
      get waiting() {
        return pool.waiting;
      },
      executions: () => executions.counts(),
      infer: (call) =>
        pool.infer(
          isNarrower ? { ...call, outputs: call.outputs ?? plain.outputs.map(({ name }) => name) } : call,
        ),
      close: async (reason) => {
        const letting = letGo();
        await pool.close(reason);
        await letting;
        await trial.stop();
      },
      letGo,
    };
  } catch (error) {
    // Not awaited: a thread that hangs in ONNX Runtime ends when it returns, or with the process.
    void first.retire();
    await holding.release();
    throw error;
  }
}

function ruleOf(maxBatchSize: number | undefined): BatchRule | undefined {
  return maxBatchSize === undefined ? undefined : { maxBatchSize, maxLatencyMs: 0 };
}

function isSame(left: SessionPlan, right: SessionPlan): boolean {
  return JSON.stringify(left) === JSON.stringify(right);
}

/** What calls are rejected with when a model is taken away under them. */
export function modelClosed(): PilotlightError {
  return new PilotlightError('draining', 'the model is being unloaded; try again', { retryAfterSeconds: 1 });
}
