import type { Clock } from '../../../ports.ts';
import { backOffMs } from './back-off.ts';
import { frozen } from './frozen.ts';
import type { KubeClient, Query } from './kube-client.ts';
import { KubeError } from './kube-error.ts';
import { objectPath, type ResourceKind } from './paths.ts';
import {
  afterEnd,
  afterEvent,
  afterFailure,
  afterList,
  initialState,
  type Notice,
  type ReflectorState,
  type Step,
} from './reflector-core.ts';
import type { KubeObject } from './wire.ts';

export interface ListWatchOptions {
  readonly client: Pick<KubeClient, 'list' | 'watchStream'>;
  readonly clock: Clock;
  readonly resource: ResourceKind;
  readonly namespace: string | undefined;
  readonly labelSelector?: string;
  readonly fieldSelector?: string;
  readonly watchSeconds: number;
  readonly inactivityMs: number;
  readonly baseBackOffMs: number;
  readonly maxBackOffMs: number;
  readonly random: () => number;
}

export interface ListWatchListener<Type> {
  readonly notify: (notice: Notice<Type>) => void;
  /** After the notices of each list. */
  readonly listed: () => void;
  readonly trouble: (error: KubeError) => void;
}

/** A watch that lasted so long worked, whether or not it had something to tell. */
const WORKED_AFTER_MS = 1_000;

/** One list-and-watch: carries out what the state machine of `reflector-core.ts` says is next, until stopped. */
export class ListWatch<Type extends KubeObject> {
  readonly #options: ListWatchOptions;
  readonly #listener: ListWatchListener<Type>;
  readonly #path: string;
  readonly #selectors: Query;
  #state: ReflectorState<Type> = initialState();
  #stopped = false;
  /** Ends what is under way: a list, a watch or a wait. */
  #endCurrent: () => void = () => undefined;

  constructor(options: ListWatchOptions, listener: ListWatchListener<Type>) {
    const { resource, namespace, labelSelector, fieldSelector } = options;
    this.#options = options;
    this.#listener = listener;
    this.#path = objectPath({ ...resource, ...(namespace !== undefined && { namespace }) });
    this.#selectors = { labelSelector, fieldSelector };
  }

  get listed(): boolean {
    return this.#state.listed;
  }

  stop(): void {
    this.#stopped = true;
    this.#endCurrent();
  }

  /** Never rejects; resolves once stopped. */
  async run(): Promise<void> {
    while (!this.#stopped) {
      const current = new AbortController();
      this.#endCurrent = () => current.abort();
      try {
        if (this.#state.next === 'list') await this.#list(current.signal);
        else await this.#watch(current);
      } catch (thrown) {
        if (this.#isStopped()) return;
        await this.#recover(toKubeError(thrown));
      }
    }
  }

  /** A method, as the compiler would take the field for unchanged over an await. */
  #isStopped(): boolean {
    return this.#stopped;
  }

  async #list(signal: AbortSignal): Promise<void> {
    const list = await this.#options.client.list<Type>(this.#path, this.#selectors, { signal });
    if (this.#stopped) return;
    this.#take(afterList(this.#state, frozen(list)));
    this.#listener.listed();
  }

  async #watch(current: AbortController): Promise<void> {
    const { client, clock, watchSeconds, inactivityMs, random } = this.#options;
    const query = {
      ...this.#selectors,
      resourceVersion: this.#state.resourceVersion,
      timeoutSeconds: Math.round(watchSeconds * (1 + random())),
    };
    const startedMs = clock.nowMs();
    let heard = false;
    let silent = false;
    const becomesSilent = (): void => {
      silent = true;
      current.abort();
    };
    let cancelSilence = clock.after(inactivityMs, becomesSilent);
    try {
      for await (const event of client.watchStream<Type>(this.#path, query, current.signal)) {
        if (this.#stopped) return;
        cancelSilence();
        cancelSilence = clock.after(inactivityMs, becomesSilent);
        heard = true;
        this.#take(afterEvent(this.#state, frozen(event)));
      }
    } finally {
      cancelSilence();
    }
    if (this.#isStopped()) return;
    if (silent) throw new KubeError('unavailable', `watch ${this.#path}: silent for ${inactivityMs} ms`);
    const worked = heard || clock.nowMs() - startedMs >= WORKED_AFTER_MS;
    this.#state = afterEnd(this.#state, worked);
    if (!worked) await this.#backOff(0);
  }

  #take({ state, notices }: Step<Type>): void {
    this.#state = state;
    for (const notice of notices) this.#listener.notify(notice);
  }

  async #recover(error: KubeError): Promise<void> {
    this.#state = afterFailure(this.#state, error.code);
    this.#listener.trouble(error);
    await this.#backOff(error.retryAfterMs ?? 0);
  }

  async #backOff(atLeastMs: number): Promise<void> {
    if (this.#stopped) return;
    const { clock, baseBackOffMs, maxBackOffMs, random } = this.#options;
    const waitMs = Math.max(
      atLeastMs,
      backOffMs(this.#state.failures, baseBackOffMs, maxBackOffMs, random()),
    );
    await new Promise<void>((resolve) => {
      const cancel = clock.after(waitMs, resolve);
      this.#endCurrent = () => {
        cancel();
        resolve();
      };
    });
  }
}

function toKubeError(thrown: unknown): KubeError {
  if (thrown instanceof KubeError) return thrown;
  return new KubeError('malformed', thrown instanceof Error ? thrown.message : String(thrown), {
    cause: thrown,
  });
}
