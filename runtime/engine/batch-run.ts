import { PilotlightError, toPilotlightError } from '../../contracts/errors.ts';
import { type Tensor } from '../core/tensor.ts';
import { splitTensors } from '../core/tensor-batch.ts';
import type { InferenceResult } from '../ports.ts';
import { timerMs } from './alarm.ts';
import type { Instance } from './instance.ts';
import { clientClosed, unwantedReason, type WaitingCall } from './waiting-list.ts';

/** A call as a run answers it. Whichever of the two comes first counts. */
export interface Caller extends WaitingCall {
  resolve(result: InferenceResult): void;
}

/** One run of the model that came to its end. */
export interface RunFacts {
  /** Requests that it answered. */
  calls: number;
  rows: number;
  /** Of one of the calls; large ones are empty by now, their shapes are not. */
  inputs: readonly Tensor[];
  /** Of each call. */
  queuedMs: readonly number[];
  /** Putting the inputs together, where this thread did. */
  joinMs: number;
  computeMs: number;
  /** Taking the outputs apart. */
  splitMs: number;
}

export interface RunHooks {
  /** How long a run may go on after the last of its callers was told of the time-out. */
  hangGraceMs: number;
  onRan(facts: RunFacts): void;
  /** A run of several failed as a whole: they are run one by one. */
  onBatchFailed(error: PilotlightError): void;
  /** The outputs of a run of several can't be told apart: the model has no batch after all. */
  onInseparable(): void;
  /** It went on for longer than its grace; the worker is to be given up. */
  onHang(): void;
}

/**
 * Runs calls together on an instance that does nothing else, and answers each. Where they fail together, each is run
 * alone, so that the error belongs to the one that caused it. Resolves when the instance is free; never rejects.
 */
export async function runTogether(
  instance: Instance,
  callers: readonly Caller[],
  startedMs: number,
  hooks: RunHooks,
): Promise<void> {
  const [only] = callers;
  if (only !== undefined && callers.length === 1) {
    await runAlone(instance, only, only.call.inputs, hooks, startedMs);
    return;
  }
  const inputs = callers.map(({ call }) => call.inputs);
  const sizeBytes = callers.reduce((sum, one) => sum + one.sizeBytes, 0);
  const stop = limitTime(callers, startedMs, hooks);
  let again: readonly (readonly Tensor[])[] = [];
  try {
    const outcome = await instance.runBatch(inputs, sizeBytes, only?.call.outputs);
    if (outcome.kind === 'ran') {
      const splitFromMs = performance.now();
      const parts = splitTensors(
        outcome.outputs,
        callers.map(({ rows }) => rows),
      );
      if (parts !== undefined) {
        const facts = factsOf(callers, startedMs, outcome, performance.now() - splitFromMs);
        hooks.onRan(facts);
        for (const [index, caller] of callers.entries()) {
          answer(caller, {
            outputs: parts[index] ?? [],
            queuedMs: facts.queuedMs[index] ?? 0,
            computeMs: outcome.computeMs,
          });
        }
        return;
      }
      hooks.onInseparable();
    } else hooks.onBatchFailed(outcome.error);
    again = outcome.inputs;
  } catch (error) {
    // The worker is gone, and what it was given with it.
    for (const caller of callers) caller.reject(toPilotlightError(error));
    return;
  } finally {
    stop();
  }
  for (const [index, caller] of callers.entries()) {
    const nowMs = performance.now();
    const unwanted = unwantedReason(caller.call, nowMs);
    if (unwanted !== undefined) caller.reject(unwanted);
    else await runAlone(instance, caller, again[index] ?? [], hooks, nowMs);
  }
}

async function runAlone(
  instance: Instance,
  caller: Caller,
  inputs: readonly Tensor[],
  hooks: RunHooks,
  startedMs: number,
): Promise<void> {
  const stop = limitTime([caller], startedMs, hooks);
  try {
    const { outputs, computeMs } = await instance.run(inputs, caller.call.outputs);
    const facts = factsOf([caller], startedMs, { computeMs, joinMs: 0 }, 0);
    hooks.onRan(facts);
    answer(caller, { outputs, queuedMs: facts.queuedMs[0] ?? 0, computeMs });
  } catch (error) {
    caller.reject(toPilotlightError(error));
  } finally {
    stop();
  }
}

function factsOf(
  callers: readonly Caller[],
  startedMs: number,
  { computeMs, joinMs }: { computeMs: number; joinMs: number },
  splitMs: number,
): RunFacts {
  return {
    calls: callers.length,
    rows: callers.reduce((sum, { rows }) => sum + rows, 0),
    inputs: callers[0]?.call.inputs ?? [],
    queuedMs: callers.map(({ queuedAtMs }) => startedMs - queuedAtMs),
    joinMs,
    computeMs,
    splitMs,
  };
}

/** A client that left while it ran: its slot was taken until now, and is counted until now. */
function answer(caller: Caller, result: InferenceResult): void {
  if (caller.call.signal.aborted) caller.reject(clientClosed());
  else caller.resolve(result);
}

/**
 * Tells each caller when its time is over, by one timer for all; the run goes on for the others, and after the last of
 * them for its grace.
 *
 * @returns what ends it.
 */
function limitTime(callers: readonly Caller[], startedMs: number, hooks: RunHooks): () => void {
  let timer: NodeJS.Timeout;
  const pending = callers.toSorted((left, right) => left.call.deadlineMs - right.call.deadlineMs);
  const check = (): void => {
    const nowMs = performance.now();
    while (pending[0] !== undefined && pending[0].call.deadlineMs <= nowMs) {
      pending.shift()?.reject(ranTooLong(nowMs - startedMs));
    }
    const [next] = pending;
    timer =
      next === undefined
        ? setTimeout(() => hooks.onHang(), timerMs(hooks.hangGraceMs))
        : setTimeout(check, timerMs(next.call.deadlineMs - nowMs));
  };
  timer = setTimeout(check, timerMs((pending[0]?.call.deadlineMs ?? 0) - startedMs));
  return () => clearTimeout(timer);
}

function ranTooLong(elapsedMs: number): PilotlightError {
  return new PilotlightError(
    'inference-timeout',
    `the model did not answer within the time limit of the request (it ran for ${Math.round(elapsedMs)} ms)`,
  );
}

/** Characters of strings count two bytes, as in memory at worst. */
export function sizeBytesOf(tensors: readonly Tensor[]): number {
  let sum = 0;
  for (const { data } of tensors) {
    if (Array.isArray(data)) for (const text of data) sum += text.length * 2;
    else sum += data.byteLength;
  }
  return sum;
}

export function inseparable(): PilotlightError {
  return new PilotlightError(
    'inference-failed',
    'the outputs of a batch do not have the rows of its inputs, so nobody can tell whose is what: each request is run alone from now on; ask for no batching (maxBatchSize 1)',
  );
}
