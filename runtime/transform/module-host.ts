import { PilotlightError } from '../../contracts/errors.ts';
import { transferable, transferableBytes } from '../engine/transfer.ts';
import type { FromModule, HookCall, HookResult, RequestForHook } from './messages.ts';
import { type ModuleExports, type ModuleSource, ModuleThread } from './module-thread.ts';

export interface ModuleLimits {
  /** Of one call of one hook. */
  timeoutMs: number;
  /** Of the JavaScript heap of the thread. */
  memoryBytes: number;
}

export interface HookTiming {
  /** `performance.now()` after which the result is of no use. */
  deadlineMs: number;
  /** Aborted when the client left. */
  signal: AbortSignal;
}

/** Hooks that wait for something, a call over the network say, at once. */
const MAX_RUNNING = 64;
/** Bodies that wait are accounted by who read them; this bounds their number. */
const MAX_WAITING = 1024;
/** A module that loaded once does so again quickly, or never. */
const RELOAD_LIMIT_MS = 10_000;
const RESTART_BASE_MS = 100;
const RESTART_MAX_MS = 10_000;

interface Job {
  id: number;
  call: HookCall;
  resolve: (result: HookResult) => void;
  reject: (error: PilotlightError) => void;
  onAbort: () => void;
  timing: HookTiming;
  /** Ends the wait of the caller at its own deadline. */
  deadline: NodeJS.Timeout;
  /** Runs from the moment that the thread has it. */
  limit: NodeJS.Timeout | undefined;
}

/**
 * A user's module: hooks are called one after the other in its thread, and beside those that wait for something. A
 * hook that takes longer than its time limit costs the thread, which is replaced.
 */
export class ModuleHost {
  readonly exports: ModuleExports;
  readonly #module: ModuleSource;
  readonly #limits: ModuleLimits;
  readonly #onTrouble: (error: PilotlightError) => void;
  readonly #waiting: Job[] = [];
  readonly #running = new Map<number, Job>();
  #thread: ModuleThread | undefined;
  /** The call that has the thread for itself. */
  #holder: number | undefined;
  #nextId = 1;
  #losses = 0;
  #restart: NodeJS.Timeout | undefined;
  #isClosed = false;

  private constructor(
    module: ModuleSource,
    limits: ModuleLimits,
    thread: ModuleThread,
    exports: ModuleExports,
    onTrouble: (error: PilotlightError) => void,
  ) {
    this.#module = module;
    this.#limits = limits;
    this.exports = exports;
    this.#onTrouble = onTrouble;
    this.#use(thread);
  }

  /**
   * Starts the thread and runs the module's top level.
   *
   * @param onTrouble hears of each thread that was lost.
   * @throws PilotlightError `transform-invalid`; the signal's reason
   */
  static async start(
    module: ModuleSource,
    limits: ModuleLimits,
    signal: AbortSignal,
    onTrouble: (error: PilotlightError) => void,
  ): Promise<ModuleHost> {
    const thread = new ModuleThread(module.name, limits.memoryBytes);
    try {
      const exports = await thread.load(module.source, signal);
      return new ModuleHost(module, limits, thread, exports, onTrouble);
    } catch (error) {
      thread.end();
      throw error;
    }
  }

  /**
   * Calls a hook. The memory of the tensors is handed over.
   *
   * @throws PilotlightError `transform-refused`, `transform-failed`, `transform-timeout`, `inference-timeout`,
   *   `server-busy`, `client-closed`.
   */
  call(call: HookCall, timing: HookTiming): Promise<HookResult> {
    if (this.#isClosed) return Promise.reject(closed());
    if (timing.signal.aborted) return Promise.reject(clientLeft());
    if (this.#waiting.length >= MAX_WAITING) {
      return Promise.reject(
        new PilotlightError('server-busy', `${MAX_WAITING} calls of ${this.#module.name} wait already`, {
          retryAfterSeconds: 1,
        }),
      );
    }
    return new Promise((resolve, reject) => {
      const id = this.#nextId++;
      const leftMs = Math.max(0, timing.deadlineMs - performance.now());
      const job: Job = {
        id,
        call,
        resolve,
        reject,
        timing,
        onAbort: () => this.#giveUp(job, clientLeft()),
        deadline: setTimeout(() => this.#giveUp(job, tooLate(call.hook)), Math.min(leftMs, 2 ** 31 - 1)),
        limit: undefined,
      };
      timing.signal.addEventListener('abort', job.onAbort, { once: true });
      this.#waiting.push(job);
      this.#pump();
    });
  }

  /** Ends the thread; what waits is rejected. */
  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#restart);
    this.#thread?.end();
    this.#thread = undefined;
    for (const job of [...this.#waiting.splice(0), ...this.#running.values()]) this.#fail(job, closed());
    this.#running.clear();
  }

  #use(thread: ModuleThread): void {
    this.#thread = thread;
    this.#holder = undefined;
    thread.listen((message) => this.#take(message));
    thread.onLost = (error) => this.#lost(error, error);
  }

  #pump(): void {
    while (this.#thread !== undefined && this.#holder === undefined && this.#running.size < MAX_RUNNING) {
      const job = this.#waiting.shift();
      if (job === undefined) return;
      this.#holder = job.id;
      this.#running.set(job.id, job);
      job.limit = setTimeout(() => this.#overdue(job), this.#limits.timeoutMs);
      const { call, transferList } = readyToSend(job.call);
      this.#thread.send({ kind: 'call', id: job.id, ...call }, transferList);
    }
  }

  #take(message: FromModule): void {
    if (message.kind === 'loaded' || message.kind === 'load-failed') return;
    if (this.#holder === message.id) this.#holder = undefined;
    const job = this.#running.get(message.id);
    if (job !== undefined && message.kind !== 'yielded') {
      this.#running.delete(message.id);
      if (message.kind === 'done') {
        this.#losses = 0;
        this.#settle(job);
        job.resolve(message.result);
      } else this.#fail(job, errorOf(message, this.#module.name, job.call.hook));
    }
    this.#pump();
  }

  /** The caller waits no longer. What the thread has begun it ends, and its time limit still counts. */
  #giveUp(job: Job, error: PilotlightError): void {
    const index = this.#waiting.indexOf(job);
    if (index >= 0) this.#waiting.splice(index, 1);
    clearTimeout(job.deadline);
    job.timing.signal.removeEventListener('abort', job.onAbort);
    job.reject(error);
  }

  #overdue(job: Job): void {
    const { timeoutMs } = this.#limits;
    const { name } = this.#module;
    const own = new PilotlightError(
      'transform-timeout',
      `${job.call.hook} of ${name} took longer than its limit of ${timeoutMs} ms and was ended; make it faster, or raise spec.predictor.model.transform.timeout`,
    );
    this.#running.delete(job.id);
    this.#fail(job, own);
    const others = new PilotlightError(
      'transform-failed',
      `the thread of ${name} was ended, because another call took longer than its limit; try again`,
      { status: 503, retryAfterSeconds: 1 },
    );
    this.#thread?.end();
    this.#lost(others, own);
  }

  #lost(forCallers: PilotlightError, why: PilotlightError): void {
    this.#thread = undefined;
    this.#holder = undefined;
    for (const job of this.#running.values()) this.#fail(job, forCallers);
    this.#running.clear();
    if (this.#isClosed) return;
    this.#onTrouble(why);
    this.#restartSoon();
  }

  /** At once after the first loss, later and later after more without a call that went well. */
  #restartSoon(): void {
    const waitMs = this.#losses === 0 ? 0 : Math.min(RESTART_MAX_MS, RESTART_BASE_MS * 2 ** this.#losses);
    this.#losses += 1;
    this.#restart = setTimeout(() => void this.#startAgain(), waitMs);
  }

  async #startAgain(): Promise<void> {
    const thread = new ModuleThread(this.#module.name, this.#limits.memoryBytes);
    try {
      await thread.load(this.#module.source, AbortSignal.timeout(RELOAD_LIMIT_MS));
      if (this.#isClosed) return thread.end();
      this.#use(thread);
      this.#pump();
    } catch (thrown) {
      thread.end();
      if (this.#isClosed) return;
      const reason = thrown instanceof Error ? thrown.message : String(thrown);
      const error = new PilotlightError(
        'transform-failed',
        `${this.#module.name} could not be started again: ${reason}`,
      );
      for (const job of this.#waiting.splice(0)) this.#fail(job, error);
      this.#onTrouble(error);
      this.#restartSoon();
    }
  }

  #fail(job: Job, error: PilotlightError): void {
    this.#settle(job);
    job.reject(error);
  }

  #settle(job: Job): void {
    clearTimeout(job.deadline);
    clearTimeout(job.limit);
    job.timing.signal.removeEventListener('abort', job.onAbort);
  }
}

function readyToSend(call: HookCall): { call: HookCall; transferList: ArrayBuffer[] } {
  if (call.hook === 'postprocess') {
    const { tensors, transferList } = transferable(call.response.outputs);
    return { call: { ...call, response: { ...call.response, outputs: tensors } }, transferList };
  }
  const { inputs, body } = call.request;
  const { tensors, transferList } = transferable(inputs);
  const ready: RequestForHook = { ...call.request, inputs: tensors };
  if (body === undefined) return { call: { ...call, request: ready }, transferList };
  const own = transferableBytes(body);
  return {
    call: { ...call, request: { ...ready, body: own.bytes } },
    transferList: [...transferList, ...own.transferList],
  };
}

function errorOf(
  { message, status }: FromModule & { kind: 'failed' },
  name: string,
  hook: HookCall['hook'],
): PilotlightError {
  if (status !== undefined) return new PilotlightError('transform-refused', message, { status });
  return new PilotlightError('transform-failed', `${hook} of ${name} failed: ${message}`);
}

function closed(): PilotlightError {
  return new PilotlightError('draining', 'the model is being unloaded; try again', { retryAfterSeconds: 1 });
}

function clientLeft(): PilotlightError {
  return new PilotlightError('client-closed', 'the client left');
}

function tooLate(hook: HookCall['hook']): PilotlightError {
  return new PilotlightError('inference-timeout', `the request timeout passed before ${hook} was done`);
}
