import type { Clock } from '../../../ports.ts';
import { backOffMs } from './back-off.ts';

export interface WorkQueueOptions {
  readonly clock: Clock;
  /** Keys worked on at once. */
  readonly concurrency: number;
  /** Brings one key to where it should be; throwing has it run again after a back-off. */
  readonly work: (key: string) => Promise<void>;
  /** For logs: the n-th failure in a row of a key, and when it runs again. */
  readonly onFailure?: (key: string, error: unknown, failures: number, retryInMs: number) => void;
  readonly baseBackOffMs?: number;
  readonly maxBackOffMs?: number;
  /** From 0 up to 1. */
  readonly random?: () => number;
}

/** Keys to be worked on: each at most once at a time, and once more when it was added meanwhile. */
export interface WorkQueue {
  /** As soon as there is room, in the order of adding; a key that waits already runs once. */
  add(key: string): void;
  /** In `delayMs`; of several times for one key the earliest counts. */
  addAfter(key: string, delayMs: number): void;
  /** Drops the key's waiting turn, its timer and its count of failures; a run in progress is its last. */
  forget(key: string): void;
  /** Keys that wait for room or run now; timers do not count. */
  readonly size: number;
  /** Starts nothing more; resolves when the runs in progress have ended. */
  stop(): Promise<void>;
}

/** After these a failed key runs again: 50 ms, 100 ms, 200 ms … 1 minute, of which half to the whole. */
const DEFAULTS = { baseBackOffMs: 50, maxBackOffMs: 60_000, random: Math.random };

interface Run {
  ended: Promise<void>;
  /** Added while it ran. */
  again: boolean;
  /** Forgotten while it ran: its failure is of no interest any more. */
  forgotten: boolean;
}

export function createWorkQueue(options: WorkQueueOptions): WorkQueue {
  const { clock, concurrency, work, onFailure, baseBackOffMs, maxBackOffMs, random } = {
    ...DEFAULTS,
    ...options,
  };
  const waiting = new Set<string>();
  const running = new Map<string, Run>();
  /** When a key was asked for; and, apart from it, when a failed one comes back. */
  const timers = new Map<string, { dueMs: number; cancel: () => void }>();
  const retries = new Map<string, () => void>();
  const failures = new Map<string, number>();
  let scheduled = false;
  let stopped = false;

  function add(key: string): void {
    if (stopped) return;
    retries.get(key)?.();
    retries.delete(key);
    const run = running.get(key);
    if (run !== undefined) {
      run.again = true;
      return;
    }
    waiting.add(key);
    schedule();
  }

  /** Not within `add`: its caller may be in the middle of something, and may add the same key once more. */
  function schedule(): void {
    if (scheduled) return;
    scheduled = true;
    queueMicrotask(() => {
      scheduled = false;
      startWaiting();
    });
  }

  function addAfter(key: string, delayMs: number): void {
    const dueMs = clock.nowMs() + delayMs;
    const earlier = timers.get(key);
    if (stopped || (earlier !== undefined && earlier.dueMs <= dueMs)) return;
    earlier?.cancel();
    const due = (): void => {
      timers.delete(key);
      add(key);
    };
    timers.set(key, { dueMs, cancel: clock.after(delayMs, due) });
  }

  function startWaiting(): void {
    for (const key of waiting) {
      if (stopped || running.size >= concurrency) return;
      waiting.delete(key);
      const run: Run = { ended: Promise.resolve(), again: false, forgotten: false };
      running.set(key, run);
      run.ended = execute(key, run);
    }
  }

  async function execute(key: string, run: Run): Promise<void> {
    let failure: { error: unknown } | undefined;
    try {
      await work(key);
    } catch (error) {
      failure = { error };
    }
    running.delete(key);
    if (failure === undefined || run.forgotten) failures.delete(key);
    else if (!stopped) retry(key, failure.error);
    // What was added during a failed run doesn't wait out the back-off: it may be what heals it.
    if (run.again) add(key);
    schedule();
  }

  function retry(key: string, error: unknown): void {
    const count = (failures.get(key) ?? 0) + 1;
    failures.set(key, count);
    const retryInMs = backOffMs(count, baseBackOffMs, maxBackOffMs, random());
    onFailure?.(key, error, count, retryInMs);
    retries.set(
      key,
      clock.after(retryInMs, () => add(key)),
    );
  }

  function cancel(key: string): void {
    timers.get(key)?.cancel();
    timers.delete(key);
    retries.get(key)?.();
    retries.delete(key);
  }

  return {
    add,
    addAfter,
    forget(key) {
      waiting.delete(key);
      failures.delete(key);
      cancel(key);
      const run = running.get(key);
      if (run !== undefined) Object.assign(run, { again: false, forgotten: true });
    },
    get size() {
      return waiting.size + running.size;
    },
    async stop() {
      stopped = true;
      waiting.clear();
      for (const key of new Set([...timers.keys(), ...retries.keys()])) cancel(key);
      await Promise.all([...running.values()].map(({ ended }) => ended));
    },
  };
}
