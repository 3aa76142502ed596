import { Worker } from 'node:worker_threads';
import { PilotlightError } from '../../contracts/errors.ts';
import type { JsonKind, JsonResults, JsonTasks } from '../core/json-work.ts';
import type { HookTiming } from '../transform/module-host.ts';
import { RETRY_AFTER_SECONDS } from './admission.ts';
import type { ByteBudget } from './byte-budget.ts';
import type { FromJsonThread, ToJsonThread } from './json-messages.ts';

/** More would take the cores from the model. */
const MAX_THREADS = 2;
/** Of the largest bodies the byte budget lets far fewer come so far; this bounds the rest. */
const MAX_WAITING = 64;
/** Of one body: a thousand times what it takes, and the start of the thread. */
const LIMIT_MS = 20_000;
const LIMIT_MS_PER_BYTE = 0.002;
const MAX_TIMER_MS = 2 ** 31 - 1;

const BOOTSTRAP = `require('node:module').enableCompileCache();
import(${JSON.stringify(new URL('./json-worker.ts', import.meta.url).href)});`;

function startThread(): Worker {
  return new Worker(BOOTSTRAP, { eval: true, name: 'json', stdout: false, stderr: false });
}

/** A task with its kind, and the memory that goes with it. */
export interface JsonOrder<Kind extends JsonKind> {
  readonly kind: Kind;
  readonly task: JsonTasks[Kind];
  /** Handed over: empty afterwards. */
  readonly transferList: readonly ArrayBuffer[];
  /** What the task takes; whoever asks has it accounted for as long as it waits. */
  readonly sizeBytes: number;
}

interface Job {
  readonly order: JsonOrder<JsonKind>;
  /** False once nobody waits for it any more. */
  settle(outcome: PilotlightError | Error | JsonResults[JsonKind]): void;
  isAbandoned: boolean;
}

interface Thread {
  readonly worker: Worker;
  job: Job | undefined;
  limit: NodeJS.Timeout | undefined;
}

export interface JsonThreadsOptions {
  /** Holds what a thread still has though nobody waits for it. */
  budget: Pick<ByteBudget, 'takeAnyway' | 'give'>;
  /** Hears why a thread was lost. */
  onLost?: (error: Error) => void;
  /** Default: the thread of `json-worker.ts`. */
  startThread?: () => Worker;
  /** How long a thread may take for so many bytes. */
  limitMs?: (sizeBytes: number) => number;
}

/**
 * A few threads for JSON that would hold up the main one. They start when they are needed first, do one thing at a
 * time and end with the process; one that dies or takes forever is replaced, at the cost of what it was doing.
 */
export class JsonThreads {
  readonly #options: JsonThreadsOptions;
  readonly #threads = new Set<Thread>();
  readonly #waiting: Job[] = [];
  #isClosed = false;

  constructor(options: JsonThreadsOptions) {
    this.#options = options;
  }

  /**
   * Has a thread do it. Who leaves gives up the place in the queue at once; what a thread has begun it ends.
   *
   * @throws PilotlightError of the codecs; `server-busy`, `client-closed`, `inference-timeout`, `draining`;
   *   `internal` when the thread was lost.
   */
  run<Kind extends JsonKind>(
    order: JsonOrder<Kind>,
    { deadlineMs, signal }: HookTiming,
  ): Promise<JsonResults[Kind]> {
    if (this.#isClosed) return Promise.reject(closed());
    if (signal.aborted) return Promise.reject(clientLeft());
    if (this.#waiting.length >= MAX_WAITING) {
      const message = `${MAX_WAITING} large bodies wait for a thread already; try again`;
      return Promise.reject(
        new PilotlightError('server-busy', message, { retryAfterSeconds: RETRY_AFTER_SECONDS }),
      );
    }
    return new Promise((resolve, reject) => {
      const onAbort = (): void => this.#abandon(job, clientLeft());
      const timer = setTimeout(
        () => this.#abandon(job, tooLate()),
        Math.min(Math.max(0, deadlineMs - performance.now()), MAX_TIMER_MS),
      );
      const job: Job = {
        order,
        isAbandoned: false,
        settle: (outcome) => {
          clearTimeout(timer);
          signal.removeEventListener('abort', onAbort);
          if (outcome instanceof Error) reject(outcome);
          else resolve(outcome as JsonResults[Kind]);
        },
      };
      signal.addEventListener('abort', onAbort, { once: true });
      this.#waiting.push(job);
      this.#pump();
    });
  }

  /** Ends the threads; whatever waits is refused. */
  close(): void {
    this.#isClosed = true;
    for (const job of this.#waiting.splice(0)) job.settle(closed());
    for (const thread of this.#threads) this.#lose(thread, closed());
  }

  #pump(): void {
    while (this.#waiting.length > 0) {
      const thread = this.#freeThread();
      if (thread === undefined) return;
      const job = this.#waiting.shift();
      if (job === undefined) return;
      const { kind, task, transferList, sizeBytes } = job.order;
      thread.job = job;
      const limitMs = this.#options.limitMs?.(sizeBytes) ?? LIMIT_MS + sizeBytes * LIMIT_MS_PER_BYTE;
      thread.limit = setTimeout(() => this.#overdue(thread, limitMs), limitMs);
      // Whose task it is, its kind says; that the two go together, the order's type.
      const message = { kind, task } as ToJsonThread;
      thread.worker.postMessage(message, [...transferList]);
    }
  }

  #freeThread(): Thread | undefined {
    for (const thread of this.#threads) if (thread.job === undefined) return thread;
    return this.#threads.size < MAX_THREADS ? this.#start() : undefined;
  }

  #start(): Thread {
    const worker = (this.#options.startThread ?? startThread)();
    const thread: Thread = { worker, job: undefined, limit: undefined };
    this.#threads.add(thread);
    // Listeners hold the process; a thread that rests must not.
    worker.on('message', (message: FromJsonThread) => this.#take(thread, message));
    worker.on('error', (error) => this.#ended(thread, (error as Error).message));
    worker.on('exit', (code) => this.#ended(thread, `code ${code}`));
    worker.unref();
    return thread;
  }

  #take(thread: Thread, message: FromJsonThread): void {
    this.#finish(thread, outcomeOf(message));
    this.#pump();
  }

  #finish(thread: Thread, outcome: Parameters<Job['settle']>[0]): void {
    const { job } = thread;
    thread.job = undefined;
    clearTimeout(thread.limit);
    if (job?.isAbandoned === true) this.#options.budget.give(job.order.sizeBytes);
    else job?.settle(outcome);
  }

  #abandon(job: Job, error: PilotlightError): void {
    const index = this.#waiting.indexOf(job);
    if (index >= 0) this.#waiting.splice(index, 1);
    else {
      // The request gives its bytes back now, and the thread still has them.
      job.isAbandoned = true;
      this.#options.budget.takeAnyway(job.order.sizeBytes);
    }
    job.settle(error);
  }

  #overdue(thread: Thread, limitMs: number): void {
    this.#ended(thread, `it took longer than ${Math.round(limitMs)} ms and was ended`);
  }

  #ended(thread: Thread, reason: string): void {
    if (!this.#threads.has(thread)) return;
    const error = new PilotlightError('internal', `a thread for large JSON was lost: ${reason}`);
    this.#lose(thread, error);
    this.#options.onLost?.(error);
    this.#pump();
  }

  #lose(thread: Thread, error: PilotlightError): void {
    this.#threads.delete(thread);
    void thread.worker.terminate();
    this.#finish(thread, error);
  }
}

function outcomeOf(message: FromJsonThread): Parameters<Job['settle']>[0] {
  if (message.kind === 'done') return message.result;
  if (message.kind === 'failed') return new Error(message.message);
  const { code, message: text, status, retryAfterSeconds } = message;
  return new PilotlightError(
    code,
    text,
    retryAfterSeconds === undefined ? { status } : { status, retryAfterSeconds },
  );
}

function closed(): PilotlightError {
  return new PilotlightError('draining', 'the server is closing; try again', { retryAfterSeconds: 1 });
}

function clientLeft(): PilotlightError {
  return new PilotlightError('client-closed', 'the client left');
}

function tooLate(): PilotlightError {
  return new PilotlightError('inference-timeout', 'the request timeout passed before its JSON was done');
}
