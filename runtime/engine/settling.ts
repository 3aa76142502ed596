import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { GRAPH } from '../storage/form-cache.ts';
import { type CompileOutcome, CompileProcess } from './compile-job.ts';
import type { FormKind, ModelForms } from './model-forms.ts';
import { isWorthPrepacking } from './session-options.ts';
import { formStart, type StartingPoint, usable } from './starting-point.ts';

export interface SettlingOptions {
  forms: ModelForms;
  /** What the model was started from. */
  start: StartingPoint;
  sizeBytes: number;
  /** Memory that a process beside this one may take now. */
  freeBytes: () => number;
  /** A form could not be made; the model serves on from what it has. */
  onNotCompiled: (reason: string) => void;
}

type CompiledKind = 'optimised' | 'prepacked';

/** How often to look whether another process has finished the same form. */
const OTHER_PROCESS_POLL_MS = 500;
/**
 * A process that is killed is gone within milliseconds, on a busy machine within tenths of a second; nobody who leaves
 * is kept by one that isn't. Who replaces itself before it has heard of the end leaves a dead entry in the table of
 * processes that nobody takes away.
 */
const STOP_LIMIT_MS = 1_000;
/** A process with ONNX Runtime and nothing else. */
const PROCESS_BYTES = 100e6;
/**
 * Of the model's size, in memory of the compiling process: mapped weights are copied as far as they are fused; what is
 * prepacked is a copy; weights inside the graph are two more.
 */
const COMPILE_FACTOR = { optimised: 0.5, prepacked: 1.2, inline: 2.2 };
/** Of the model's size, on disk. */
const DISK_FACTOR = { optimised: 1.2, prepacked: 2.3 };

/**
 * Behind the first answer: makes the forms that a model is better served and started from, in a process of their own,
 * once for all processes that share the cache; those that find it being made wait for it and serve meanwhile.
 */
export class Settling {
  readonly #options: SettlingOptions;
  readonly #stopped = new AbortController();
  #process: CompileProcess | undefined;

  constructor(options: SettlingOptions) {
    this.#options = options;
  }

  /** The best form that there is or can be made, leased; undefined when none is better than the model as it is. */
  async settle(): Promise<StartingPoint | undefined> {
    try {
      return await this.#settle();
    } catch (error) {
      if (!this.#stopped.signal.aborted) this.#options.onNotCompiled(reasonOf(error));
      return undefined;
    }
  }

  /** Gives up what is being made; resolves when its process is gone, or has been told to go for a while. */
  async stop(): Promise<void> {
    this.#stopped.abort();
    if (this.#process === undefined) return;
    await Promise.race([this.#process.stop(), delay(STOP_LIMIT_MS, undefined, { ref: false })]);
  }

  async #settle(): Promise<StartingPoint | undefined> {
    const { forms, start, sizeBytes } = this.#options;
    // None is better; and where it was compiled ahead of time, what it was made from isn't here.
    if (start.kind === 'prepacked') return undefined;
    const optimised = await this.#obtain('optimised', start);
    if (optimised === undefined) return undefined;
    if (start.kind === 'plain' || start.kind === 'optimised') await forms.evict('external');
    const wants = optimised.facts['prepackFirst'] === true || optimised.facts['prepackLater'] === true;
    const leased = formStart('optimised', optimised);
    if (!wants || !isWorthPrepacking(sizeBytes)) return leased;
    const prepacked = await this.#obtain('prepacked', leased, optimised.facts['prepackFirst'] === true);
    if (prepacked === undefined) return leased;
    await leased.release();
    return formStart('prepacked', prepacked);
  }

  /** The form, made from `source` where it isn't there yet. */
  async #obtain(kind: CompiledKind, source: StartingPoint, isFirst = false): ReturnType<ModelForms['find']> {
    const { forms } = this.#options;
    const { signal } = this.#stopped;
    for (;;) {
      signal.throwIfAborted();
      const form = await forms.find(kind);
      if (form !== undefined) {
        if (form.facts['unusable'] !== true) return form;
        await form.release();
        return undefined;
      }
      const lock = await forms.tryLock(kind);
      if (lock === undefined) {
        await delay(OTHER_PROCESS_POLL_MS, undefined, { signal, ref: false });
        continue;
      }
      try {
        // Between the look above and the lock another process may have finished.
        const finished = await usable(forms, kind);
        if (finished !== undefined) return finished;
        await this.#make(kind, source, isFirst);
      } finally {
        await lock.release();
      }
    }
  }

  /** Publishes the form, or a mark that it can't be made. @throws Error when it may be possible another time */
  async #make(kind: CompiledKind, source: StartingPoint, isFirst: boolean): Promise<void> {
    const { forms, sizeBytes, freeBytes, onNotCompiled } = this.#options;
    const factor = source.isMapped ? COMPILE_FACTOR[kind] : COMPILE_FACTOR.inline;
    const neededBytes = PROCESS_BYTES + sizeBytes * factor;
    if (freeBytes() < neededBytes) {
      throw new Error(
        `compiling it takes about ${megabytes(neededBytes)} of memory, and ${megabytes(freeBytes())} are free`,
      );
    }
    const draft = await forms.begin(kind, Math.ceil(sizeBytes * DISK_FACTOR[kind]));
    try {
      const outcome = await this.#run({
        kind,
        folder: draft.folder,
        sizeBytes,
        source: { kind: source.kind, graphPath: source.graphPath, isMapped: source.isMapped },
      });
      if (outcome.outcome === 'gone') throw new Error(outcome.reason);
      if (outcome.outcome === 'made') {
        const { prepack } = outcome;
        await draft.publish(
          kind === 'prepacked'
            ? { first: isFirst }
            : { prepackFirst: prepack === 'first', prepackLater: prepack === 'later' },
        );
        return;
      }
      onNotCompiled(`${kind}: ${outcome.reason}`);
    } finally {
      await draft.discard();
    }
    await markUnusable(forms, kind);
  }

  async #run(job: ConstructorParameters<typeof CompileProcess>[0]): Promise<CompileOutcome> {
    this.#stopped.signal.throwIfAborted();
    this.#process = new CompileProcess(job);
    try {
      return await this.#process.outcome;
    } finally {
      this.#process = undefined;
    }
  }
}

/** So that the next start doesn't try again. It goes like any form: when room is needed, or with the version. */
export async function markUnusable(forms: ModelForms, kind: FormKind): Promise<void> {
  const draft = await forms.begin(kind, 0);
  try {
    await writeFile(join(draft.folder, GRAPH), 'tried, and not to be used\n');
    await draft.publish({ unusable: true });
  } finally {
    await draft.discard();
  }
}

const megabytes = (bytes: number): string => `${Math.ceil(bytes / 1e6)} MB`;

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
