import { PilotlightError } from '../../contracts/errors.ts';
import type { Tensor } from '../core/tensor.ts';
import type { LoadedModel } from '../ports.ts';
import type { CompiledGraphs } from './compiled-graphs.ts';
import type { Instance, SessionMetadata } from './instance.ts';
import { InstancePool } from './instance-pool.ts';
import { doesNotFit, fittingInstances } from './memory-fit.ts';
import type { ProcessLimits } from './process-limits.ts';
import { compilePlan, planSessions, type SessionPlan, type SessionPlans } from './session-options.ts';
import { signatureOf } from './signature.ts';
import { warmUpInputs } from './warm-up-input.ts';
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
  /** Whether the number of instances was asked for, or is a default that may shrink to what fits. */
  instancesWanted: boolean;
  /** Requests at once; the number of instances when absent. */
  containerConcurrency?: number | undefined;
  /** Run once on made-up input before the model is handed out. */
  warmUp: boolean;
  limits: ProcessLimits;
  reserve: WorkerReserve;
  /** Aborted when the time to start is over or the load is no longer wanted. */
  signal: AbortSignal;
  observer: LoadObserver;
  hangGraceMs?: number;
  /** Where graphs are kept that were optimised before; absent: each start begins with the model as it is. */
  compiled?: CompiledGraphs | undefined;
}

/** What goes on while a model loads and serves; nothing is awaited. */
export interface LoadObserver {
  created: (createMs: number) => void;
  warmed: (warmUpMs: number) => void;
  /** The made-up run was left out or failed: not a failure of the model. */
  warmUpSkipped: (reason: string) => void;
  /** The optimised graph could not be kept for the next start. */
  notCompiled?: (reason: string) => void;
  /** An instance was lost or could not be made; the model serves on. */
  trouble: (error: PilotlightError) => void;
  /** No instance is left: the model serves no more. */
  broken: (error: PilotlightError) => void;
  inference: (queuedMs: number, computeMs: number, inputs: readonly Tensor[]) => void;
}

export interface ModelHandle extends LoadedModel {
  /** Ends the workers; what waits is rejected with `reason`. */
  close(reason: PilotlightError): Promise<void>;
}

const DEFAULT_HANG_GRACE_MS = 30_000;
/** Waiting calls for each instance, beyond what the server holds back itself. */
const WAITING_CALLS_PER_INSTANCE = 64;
const WAITING_BYTES = 512 * 1024 * 1024;

/**
 * Creates the sessions of a model. Resolves as soon as the first instance serves; further ones are made
 * behind it, and calls wait for the first until then.
 *
 * @throws PilotlightError with a `model-*` code; the signal's reason when it is aborted.
 */
export async function loadModel(options: LoadModelOptions): Promise<ModelHandle> {
  const { signal, observer } = options;
  signal.throwIfAborted();
  const compiledPath = await options.compiled?.find(options.files);
  const plans = planSessions({ ...options, compiledPath }, options.sizeBytes);
  const need = {
    sizeBytes: options.sizeBytes,
    mapped: plans.settled.mapped,
    instances: options.instances,
    residentBytes: process.memoryUsage.rss(),
    limitBytes: options.limits.memoryBytes,
  };
  const fitting = fittingInstances(need);
  if (fitting < (options.instancesWanted ? options.instances : 1)) throw doesNotFit(need);
  const first = options.reserve.take();
  // Nobody waits for a model that is warmed ahead; and for a while the first session and the settled one need room
  // side by side.
  const oneMore = { ...need, instances: fitting + 1 };
  const quick = !options.warmUp && fittingInstances(oneMore) > fitting;
  try {
    const { metadata, provisional, isUnusable } = await createFirst(first, plans, quick, signal);
    if (isUnusable && compiledPath !== undefined) void options.compiled?.remove(options.files);
    // For a while there are three sessions: the one that answered, the settled one, and the one that is saved.
    const hasRoom = fittingInstances({ ...need, instances: fitting + 2 }) > fitting + 1;
    const isToCompile = options.compiled !== undefined && compiledPath === undefined && hasRoom;
    observer.created(metadata.createMs);
    const signature = signatureOf(metadata.inputs, metadata.outputs);
    if (options.warmUp) await unlessAborted(warmUp(first, warmUpInputs(signature), observer), signal);
    const pool = new InstancePool(first, {
      plan: plans.settled,
      provisional,
      size: fitting,
      waiting: { maxCalls: fitting * WAITING_CALLS_PER_INSTANCE, maxBytes: WAITING_BYTES },
      hangGraceMs: options.hangGraceMs ?? DEFAULT_HANG_GRACE_MS,
      onTrouble: observer.trouble,
      onBroken: observer.broken,
      onInference: observer.inference,
      onDismissed: isToCompile ? (instance) => compile(instance, options) : undefined,
    });
    void pool.grow(options.reserve.takeAll());
    return {
      name: options.name,
      versions: options.versions,
      signature,
      capacity: options.containerConcurrency ?? fitting,
      sizeBytes: options.sizeBytes,
      infer: (call) => pool.infer(call),
      close: (reason) => pool.close(reason),
    };
  } catch (error) {
    // Not awaited: a thread that hangs in ONNX Runtime ends when it returns, or with the process.
    void first.retire();
    throw error;
  }
}

/** A plan that is only quick may fail where the settled one doesn't: some graphs need to be optimised to run at all. */
async function createFirst(
  instance: Instance,
  plans: SessionPlans,
  quick: boolean,
  signal: AbortSignal,
): Promise<{ metadata: SessionMetadata; provisional: boolean; isUnusable: boolean }> {
  const create = (plan: SessionPlan): Promise<SessionMetadata> =>
    unlessAborted(instance.create(plan), signal);
  if (!quick) return { metadata: await create(plans.settled), provisional: false, isUnusable: false };
  try {
    return { metadata: await create(plans.first), provisional: true, isUnusable: false };
  } catch (error) {
    if (signal.aborted || instance.lost) throw error;
    return { metadata: await create(plans.settled), provisional: false, isUnusable: true };
  }
}

/**
 * Saves the optimised graph for the next start, in a worker that serves no more. What can't be compiled or kept
 * costs nothing but that start's time.
 */
async function compile(instance: Instance, options: LoadModelOptions): Promise<void> {
  try {
    await options.compiled?.add(options.files, options.sizeBytes, async (graphPath) => {
      await instance.create(compilePlan(options, graphPath));
    });
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    options.observer.notCompiled?.(reason);
  }
}

async function warmUp(
  instance: Instance,
  inputs: Tensor[] | undefined,
  observer: LoadObserver,
): Promise<void> {
  if (inputs === undefined) {
    observer.warmUpSkipped('the shapes of its inputs are too large to make up');
    return;
  }
  const startedMs = performance.now();
  try {
    await instance.run(inputs, undefined);
    observer.warmed(performance.now() - startedMs);
  } catch (error) {
    if (instance.lost) throw error;
    observer.warmUpSkipped(error instanceof Error ? error.message : String(error));
  }
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
