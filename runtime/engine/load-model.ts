import type { ExecutionOrder } from '../../contracts/admin.ts';
import { PilotlightError } from '../../contracts/errors.ts';
import type { BatchRule } from '../core/batching.ts';
import type { ModelSignature } from '../core/model-signature.ts';
import type { LoadedModel } from '../ports.ts';
import type { RunFacts } from './batch-run.ts';
import { ExecutionBook } from './execution-counts.ts';
import { providerUnavailable } from './execution-provider.ts';
import type { Instance, SessionMetadata } from './instance.ts';
import { InstancePool } from './instance-pool.ts';
import { anonymousBytes, doesNotFit, fittingInstances, type MemoryNeed } from './memory-fit.ts';
import { ModelBatching } from './model-batching.ts';
import type { ModelForms } from './model-forms.ts';
import type { ProcessLimits } from './process-limits.ts';
import { acceleratedPlan, quickPlan, type SessionPlan, settledPlan } from './session-options.ts';
import { markUnusable, Settling } from './settling.ts';
import { signatureOf } from './signature.ts';
import { findStart, type ModelFiles, plainStart, type StartingPoint } from './starting-point.ts';
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
  /** How requests are put together. Absent: nobody asked for it. */
  batching?: BatchRule | undefined;
  /** What the model is to take and give, given what it can; throws where that can't be had. */
  narrow?: ((signature: ModelSignature) => ModelSignature) | undefined;
  /** Run on samples, or once on made-up input, before the model is handed out. */
  warmUp: boolean;
  warmUpSamples?: WarmUp['samples'];
  limits: ProcessLimits;
  reserve: WorkerReserve;
  /** Aborted when the time to start is over or the load is no longer wanted. */
  signal: AbortSignal;
  observer: LoadObserver;
  hangGraceMs?: number;
  /** Where forms of the model are kept that start faster; absent: each start begins with the model as it is. */
  forms?: ModelForms | undefined;
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
    const batching = new ModelBatching(plain, options.batching, {
      instances: made.fitting,
      containerConcurrency: options.containerConcurrency,
    });
    if (options.warmUp) {
      const warming = warmUp(first, plain, { samples: options.warmUpSamples, signal, observer });
      await unlessAborted(warming, signal);
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
        observer.ran(facts);
      },
      onBatchFailed: observer.batchFailed,
    });
    void pool.grow(options.reserve.takeAll());
    const letGo = async (): Promise<void> => {
      await settling?.stop();
      await holding.release();
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

interface FirstSession {
  metadata: SessionMetadata;
  plan: SessionPlan;
  start: StartingPoint;
  /** Instances that there is room for. */
  fitting: number;
  isAccelerated: boolean;
}

/**
 * A session on the accelerator that was asked for.
 *
 * @returns undefined where the CPU is to serve
 * @throws PilotlightError `execution-provider-unavailable` where that is refused; what else keeps the model from loading
 */
async function createAccelerated(
  instance: Instance,
  options: LoadModelOptions,
): Promise<FirstSession | undefined> {
  const { provider, fallback } = options.execution ?? { provider: 'cpu' };
  if (provider === 'cpu') return undefined;
  const model = (await options.bringOriginal?.()) ?? options;
  const plan = acceleratedPlan(model.modelPath, options, provider);
  const need = needOf(plan, options.instances, options);
  const fitting = fittingInstances(need);
  if (fitting < (options.instancesWanted ? options.instances : 1)) throw doesNotFit(need);
  try {
    const metadata = await unlessAborted(instance.create(plan), options.signal);
    return { metadata, plan, start: plainStart(model), fitting, isAccelerated: true };
  } catch (error) {
    if (options.signal.aborted || instance.lost) throw error;
    // Where the model itself is at fault the CPU finds the same, and says it better.
    if (fallback === 'refuse' && error instanceof PilotlightError && error.code !== 'model-invalid')
      throw error;
    const unavailable = providerUnavailable(provider, error);
    if (fallback === 'refuse') throw unavailable;
    options.observer.notAccelerated?.(unavailable);
    return undefined;
  }
}

/**
 * The session that is there soonest. What can't be loaded is taken out and the next best tried, down to the model as
 * it is; and a graph may have to be optimised to run at all.
 *
 * @throws PilotlightError of the last try; `model-out-of-memory` before one that would not fit
 */
async function createFirst(
  instance: Instance,
  given: StartingPoint,
  options: LoadModelOptions,
  onNext: (start: StartingPoint) => void,
): Promise<FirstSession> {
  const { signal, forms, warmUp: isWarmedAhead } = options;
  const isCompiled = (kind: StartingPoint['kind']): boolean => kind === 'optimised' || kind === 'prepacked';
  let start = given;
  // Nobody waits for a model that is warmed ahead.
  let isQuick = !isWarmedAhead || isCompiled(start.kind);
  for (;;) {
    const plan = isQuick ? quickPlan(start, options) : settledPlan(start, options);
    const need = needOf(plan, options.instances, options);
    const fitting = fittingInstances(need);
    if (fitting < (options.instancesWanted ? options.instances : 1)) throw doesNotFit(need);
    try {
      const metadata = await unlessAborted(instance.create(plan), signal);
      return { metadata, plan, start, fitting, isAccelerated: false };
    } catch (error) {
      if (signal.aborted || instance.lost) throw error;
      if (start.kind === 'plain' || forms === undefined) {
        if (!isQuick) throw error;
        isQuick = false;
        continue;
      }
      const reason = error instanceof Error ? error.message : String(error);
      options.observer.notCompiled?.(`its ${start.kind} form could not be loaded: ${reason}`);
      start = await insteadOf(start, forms, options);
      isQuick = !isWarmedAhead || isCompiled(start.kind);
      onNext(start);
    }
  }
}

/** What to start from after a form that can't be loaded: damaged ones go and are made again. */
async function insteadOf(
  failed: StartingPoint,
  forms: ModelForms,
  options: LoadModelOptions,
): Promise<StartingPoint> {
  await failed.release();
  if (failed.kind === 'plain') return failed;
  await forms.remove(failed.kind).catch(() => undefined);
  const model = (await options.bringOriginal?.()) ?? options;
  if (failed.kind !== 'external') return findStart(model, forms, () => undefined);
  // Nothing is at fault with its files, they were just looked at: ONNX Runtime wants these weights inside.
  await markUnusable(forms, 'external').catch(() => undefined);
  return plainStart(model);
}

function needOf({ mapped }: SessionPlan, instances: number, options: LoadModelOptions): MemoryNeed {
  const { sizeBytes, limits } = options;
  return { sizeBytes, mapped, instances, residentBytes: anonymousBytes(), limitBytes: limits.memoryBytes };
}

function isSame(left: SessionPlan, right: SessionPlan): boolean {
  return JSON.stringify(left) === JSON.stringify(right);
}

/** The promise's outcome, or the signal's reason as soon as it is aborted. */
export async function unlessAborted<Value>(promise: Promise<Value>, signal: AbortSignal): Promise<Value> {
  signal.throwIfAborted();
  const aborted = Promise.withResolvers<never>();
  const onAbort = (): void => aborted.reject(signal.reason);
  signal.addEventListener('abort', onAbort, { once: true });
  promise.catch(() => undefined);
  aborted.promise.catch(() => undefined);
  try {
    return await Promise.race([promise, aborted.promise]);
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}

/** What calls are rejected with when a model is taken away under them. */
export function modelClosed(): PilotlightError {
  return new PilotlightError('draining', 'the model is being unloaded; try again', { retryAfterSeconds: 1 });
}
