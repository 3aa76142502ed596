import type { SpecialiseEvent } from '../../contracts/admin.ts';
import { PilotlightError } from '../../contracts/errors.ts';
import { planThreads } from '../core/threads.ts';
import type { Comparable } from '../engine/compare-sessions.ts';
import type { LoadObserver, ModelHandle } from '../engine/load-model.ts';
import type { ProcessLimits } from '../engine/process-limits.ts';
import { unlessAborted } from '../engine/unless-aborted.ts';
import type { WorkerReserve } from '../engine/worker-reserve.ts';
import type { OpenedModel } from '../storage/open-model.ts';
import { doing, type LoadOrder, type LoadPhase } from './load-order.ts';
import { openSource, prepareStart } from './model-source.ts';
import { loadOrEnd, startSurroundings, surround } from './surroundings.ts';
import { configuredOrder } from './triton-order.ts';

/** Files on this machine's disk, and the lease that keeps them there. */
export type LoadedFiles = Pick<OpenedModel, 'release'>;

export interface BringUpContext {
  cacheDir: string;
  cacheMaxBytes: number | undefined;
  limits: ProcessLimits;
  reserve: WorkerReserve;
  /** Aborted from outside when the load is no longer wanted, from here when the time to start is over. */
  signal: AbortController;
  elapsedMs: () => number;
  tell: (event: SpecialiseEvent) => void;
  observer: LoadObserver;
  /** What holds locks and leases of the cache until it settles, which may be after an abort. */
  onOpening: (opening: Promise<LoadedFiles>) => void;
  /** Called before the first line of a user's code runs in this process. */
  onUserCode: () => void;
  /** Called as soon as files are leased, so that a later failure can give them back. */
  onFiles: (files: LoadedFiles) => void;
}

/**
 * From an order to a model that serves: fetch, create, warm up.
 *
 * @throws PilotlightError that names the cause; `model-load-timeout` with the phase it hung in.
 */
export async function bringUp(
  order: LoadOrder,
  context: BringUpContext,
): Promise<{ model: ModelHandle; files: LoadedFiles; parity: string | undefined }> {
  const { signal: controller, observer } = context;
  const { signal } = controller;
  let phase: LoadPhase = 'fetched';
  let parity: string | undefined;
  const timer = setTimeout(
    () => {
      controller.abort(
        new PilotlightError(
          'model-load-timeout',
          `the model was not ready within its start timeout of ${order.startTimeoutMs} ms: the time was over ${doing(phase)}`,
        ),
      );
    },
    Math.min(order.startTimeoutMs, 2 ** 31 - 1),
  );
  try {
    const source = await openSource(order, context);
    const { opened, forms } = source;
    const { order: complete, model: configured } = await configuredOrder(order, opened.companions, signal);
    const start = await unlessAborted(prepareStart(source, observer, signal), signal);
    context.tell({
      event: 'fetched',
      elapsedMs: context.elapsedMs(),
      cached: opened.fromCache,
      coldBytes: start.coldBytes,
      sizeBytes: opened.sizeBytes,
      identity: opened.identity,
    });
    phase = 'created';
    const proving = parityGate(order, opened, context, signal);
    // Beside the session: they may take their time.
    const around = startSurroundings(order, opened, context, signal);
    const model = await loadOrEnd(around, {
      name: order.name,
      versions: [versionOf(opened.identity.files[0]?.path ?? '')],
      modelPath: source.files()?.modelPath ?? '',
      files: source.files()?.files ?? [],
      bringOriginal: source.original,
      sizeBytes: opened.sizeBytes,
      ...planThreads(context.limits.cpus, complete),
      execution: complete.execution,
      instancesWanted: complete.instances !== undefined,
      containerConcurrency: order.containerConcurrency,
      batching: complete.batching,
      ...configured,
      warmUp: order.warmUp === 'run',
      limits: context.limits,
      reserve: context.reserve,
      forms,
      kept: source.kept,
      start: start.point,
      signal,
      prove:
        proving &&
        (async (candidate) => {
          phase = 'parity';
          parity = await proving(candidate);
        }),
      observer: {
        ...observer,
        created: (createMs) => {
          phase = 'warmed';
          observer.created(createMs);
        },
      },
    });
    phase = 'module';
    await surround(model, order, around);
    const files = {
      release: () =>
        releaseBoth(
          () => model.letGo(),
          () => source.release(),
        ),
    };
    return { model, files, parity };
  } finally {
    clearTimeout(timer);
  }
}

/** Undefined for a model that is to answer like no other, or was found to. What it takes is loaded by those that do. */
function parityGate(
  order: LoadOrder,
  { companions }: Pick<OpenedModel, 'companions'>,
  { cacheDir, cacheMaxBytes, limits }: BringUpContext,
  signal: AbortSignal,
): ((candidate: Comparable) => Promise<string>) | undefined {
  const { parity } = order;
  if (parity === undefined || parity.isPassed) return undefined;
  return async (candidate) => {
    const { passParityGate } = await import('./parity-gate.ts');
    return passParityGate(candidate, parity, { order, companions, cacheDir, cacheMaxBytes, limits, signal });
  };
}

async function releaseBoth(one: () => Promise<void>, other: () => Promise<void>): Promise<void> {
  await one();
  await other();
}

/** The numeric folder that a model's file lies in, by itself or in a model's folder as in Triton's repositories; else 1. */
function versionOf(path: string): string {
  return /^(?:[^/]+\/)?(\d+)\//.exec(path)?.[1] ?? '1';
}
