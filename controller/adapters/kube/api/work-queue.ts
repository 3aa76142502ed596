import type { Clock } from '../../../ports.ts';

export interface WorkQueueOptions {
  readonly clock: Pick<Clock, 'after'>;
  /** Keys worked on at once. */
  readonly concurrency: number;
  /** Brings one key to where it should be; throwing has it run again after a back-off. */
  readonly work: (key: string) => Promise<void>;
  /** For logs: the n-th failure in a row of a key, and when it runs again. */
  readonly onFailure?: (key: string, error: unknown, failures: number, retryInMs: number) => void;
  readonly baseBackOffMs?: number;
  readonly maxBackOffMs?: number;
  readonly random?: () => number;
}

/** Keys to be worked on: each at most once at a time, and once more when it was added meanwhile. */
export interface WorkQueue {
  /** As soon as there is room; a key that waits already, or sits out a back-off, is run now and once. */
  add(key: string): void;
  /** Not before `delayMs`; an earlier time that was set stays. */
  addAfter(key: string, delayMs: number): void;
  /** Drops the key's waiting turn, its timer and its count of failures; a run in progress ends by itself. */
  forget(key: string): void;
  /** Keys that wait for room or run now; timers do not count. */
  readonly size: number;
  /** Starts nothing more; resolves when the runs in progress have ended. */
  stop(): Promise<void>;
}

export declare function createWorkQueue(options: WorkQueueOptions): WorkQueue;
