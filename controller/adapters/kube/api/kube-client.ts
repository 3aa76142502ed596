import { backOffMs } from './back-off.ts';
import { type CallEnding, endingOf } from './call-ending.ts';
import type { KubeAccess } from './kube-access.ts';
import { errorFromAnswer, isKubeError, KubeError } from './kube-error.ts';
import { listPages } from './list-pages.ts';
import { Permits } from './permits.ts';
import { type Answer, createTransport, type Exchange, readText } from './transport.ts';
import { watchEvents } from './watch-events.ts';
import type { KubeObject, WatchEvent } from './wire.ts';

/** Query parameters; `undefined` leaves one out. */
export type Query = Readonly<Record<string, string | number | boolean | undefined>>;

export interface ListResult<Type> {
  readonly items: readonly Type[];
  /** Where a watch goes on from. */
  readonly resourceVersion: string;
}

export interface DeleteOptions {
  /** Only this incarnation; another one under the name: KubeError `conflict`. */
  readonly uid?: string;
  /** Only if nobody has written since. */
  readonly resourceVersion?: string;
  readonly gracePeriodSeconds?: number;
  readonly propagationPolicy?: 'Orphan' | 'Background' | 'Foreground';
}

/** How a call may end early. */
export interface CallOptions {
  /** For the whole call, its waiting for a free place and its repeats included; for each page of a list. */
  readonly timeoutMs?: number;
  /** Ends the call with KubeError `aborted`. */
  readonly signal?: AbortSignal;
}

/**
 * Media type of a patch: `merge` RFC 7386, `apply` server-side apply, `json` RFC 6902. Strategic merge is left
 * out on purpose: custom resources don't have it, and apply says more precisely who owns what.
 */
export type PatchKind = 'merge' | 'apply' | 'json';

/**
 * The Kubernetes API in a few verbs. Paths come from `objectPath`; objects are plain JSON (see `Wire`).
 *
 * Every call has a deadline, a bound on the size of the answer, and a place among a bounded number of calls at
 * once; reads are repeated on 429, 5xx and cut connections, writes never. Calls reject with {@link KubeError}.
 */
export interface KubeClient {
  /** @returns undefined when there is none (404). */
  get<Type extends KubeObject>(path: string, options?: CallOptions): Promise<Type | undefined>;
  /** All objects of a collection, page by page; the query takes `labelSelector` and `fieldSelector`. */
  list<Type extends KubeObject>(
    path: string,
    query?: Query,
    options?: CallOptions,
  ): Promise<ListResult<Type>>;
  /** @returns the object as it was stored. @throws KubeError `already-exists`. */
  create<Type extends KubeObject>(path: string, body: object, options?: CallOptions): Promise<Type>;
  /** @throws KubeError `conflict` when the body's resourceVersion is not the newest. */
  replace<Type extends KubeObject>(path: string, body: object, options?: CallOptions): Promise<Type>;
  /**
   * `apply` forces ownership of its fields unless the query says `force: false`.
   * @throws KubeError `conflict` when `metadata.resourceVersion` in the body is not the newest.
   */
  patch<Type extends KubeObject>(
    path: string,
    kind: PatchKind,
    body: object,
    query?: Query,
    options?: CallOptions,
  ): Promise<Type>;
  /** Resolves as well when there is none (404). */
  delete(path: string, preconditions?: DeleteOptions, options?: CallOptions): Promise<void>;
  /** A GET of something that is not an object, such as `/version` or `/metrics`, as text. */
  raw(path: string, options?: CallOptions): Promise<string>;
  /**
   * Changes as they come, on a connection of its own. Ends when the server ends it (`timeoutSeconds`), and
   * quietly when `signal` aborts.
   * @throws KubeError on an error status, a cut connection, or an ERROR event (`gone`: list again).
   */
  watchStream<Type extends KubeObject>(
    path: string,
    query: Query,
    signal: AbortSignal,
  ): AsyncIterable<WatchEvent<Type>>;
  /** Ends all connections; calls in flight reject with `aborted`. */
  close(): Promise<void>;
}

export interface KubeClientOptions {
  readonly access: KubeAccess;
  /** Version of the program, for the user agent `pilotlight-controller/<version>`. */
  readonly version: string;
  /** Who owns the fields that are written. */
  readonly fieldManager?: string;
  readonly timeoutMs?: number;
  readonly maxConcurrentCalls?: number;
  readonly maxAnswerBytes?: number;
  readonly random?: () => number;
}

/** Bounds and times that are used where the options say nothing. */
const CLIENT_DEFAULTS = {
  fieldManager: 'pilotlight',
  timeoutMs: 10_000,
  // Far below what API priority and fairness grants one user, far above what reconciling needs.
  maxConcurrentCalls: 32,
  // A page of 500 objects of 60 KB each.
  maxAnswerBytes: 32 * 1024 * 1024,
} as const;

const READ_ATTEMPTS = 5;
const BASE_BACK_OFF_MS = 100;
const MAX_BACK_OFF_MS = 2_000;

const JSON_TYPE = 'application/json';
const PATCH_TYPES: Readonly<Record<PatchKind, string>> = {
  merge: 'application/merge-patch+json',
  // YAML by name; JSON is YAML.
  apply: 'application/apply-patch+yaml',
  json: 'application/json-patch+json',
};

export function createKubeClient(options: KubeClientOptions): KubeClient {
  const { access, version, random = Math.random } = options;
  const { fieldManager, timeoutMs, maxConcurrentCalls, maxAnswerBytes } = { ...CLIENT_DEFAULTS, ...options };
  const transport = createTransport(access, `pilotlight-controller/${version}`);
  const permits = new Permits(maxConcurrentCalls);
  const closed = new AbortController();

  /** One exchange within a permit, its answer read whole. A token that was refused is read anew and tried once. */
  async function attempt(exchange: Exchange, call: string, signal: AbortSignal): Promise<string> {
    const release = await permits.acquire(signal);
    try {
      let answer = await transport.send(exchange, signal);
      if (answer.status === 401) {
        await readText(answer, maxAnswerBytes, signal, call);
        access.refused();
        answer = await transport.send(exchange, signal);
      }
      const text = await readText(answer, maxAnswerBytes, signal, call);
      if (isSuccess(answer)) return text;
      throw errorFromAnswer(call, answer.status, text, answer.retryAfter);
    } finally {
      release();
    }
  }

  async function run(request: Exchange, callOptions: CallOptions = {}): Promise<string> {
    const call = `${request.method} ${request.path}`;
    using ending = endingOf(call, callOptions.timeoutMs ?? timeoutMs, [callOptions.signal, closed.signal]);
    for (let count = 1; ; count += 1) {
      try {
        return await attempt(request, call, ending.signal);
      } catch (error) {
        if (request.method !== 'GET' || count === READ_ATTEMPTS) throw error;
        await beforeRepeat(error, count, ending);
      }
    }
  }

  /** Waits until a read may be repeated. @throws `error` when that is no use, or not within the call's time. */
  async function beforeRepeat(error: unknown, attempts: number, ending: CallEnding): Promise<void> {
    if (!(error instanceof KubeError) || !error.transient || ending.signal.aborted) throw error;
    const waitMs = Math.max(
      error.retryAfterMs ?? 0,
      backOffMs(attempts, BASE_BACK_OFF_MS, MAX_BACK_OFF_MS, random()),
    );
    if (waitMs >= ending.remainingMs()) throw error;
    await pause(waitMs, ending.signal);
  }

  async function read<Type>(path: string, query: Query, callOptions?: CallOptions): Promise<Type> {
    const request: Exchange = { method: 'GET', path: withQuery(path, query) };
    return parsed(await run(request, callOptions), request) as Type;
  }

  async function write<Type>(
    method: 'POST' | 'PUT' | 'PATCH',
    path: string,
    type: string,
    body: object,
    callOptions?: CallOptions,
  ): Promise<Type> {
    const request: Exchange = { method, path, body: { type, text: JSON.stringify(body) } };
    return parsed(await run(request, callOptions), request) as Type;
  }

  return {
    async get<Type extends KubeObject>(path: string, callOptions?: CallOptions) {
      try {
        return await read<Type>(path, {}, callOptions);
      } catch (error) {
        if (isKubeError(error, 'not-found')) return undefined;
        throw error;
      }
    },

    list: (path, query = {}, callOptions) =>
      listPages((page) => read(path, { ...query, ...page }, callOptions), path),

    create: (path, body, callOptions) =>
      write('POST', withQuery(path, { fieldManager }), JSON_TYPE, body, callOptions),

    replace: (path, body, callOptions) =>
      write('PUT', withQuery(path, { fieldManager }), JSON_TYPE, body, callOptions),

    patch(path, kind, body, query = {}, callOptions) {
      const force = kind === 'apply' ? true : undefined;
      return write(
        'PATCH',
        withQuery(path, { fieldManager, force, ...query }),
        PATCH_TYPES[kind],
        body,
        callOptions,
      );
    },

    async delete(path, wanted = {}, callOptions) {
      const { uid, resourceVersion, gracePeriodSeconds, propagationPolicy } = wanted;
      const hasPreconditions = uid !== undefined || resourceVersion !== undefined;
      const text = JSON.stringify({
        apiVersion: 'v1',
        kind: 'DeleteOptions',
        gracePeriodSeconds,
        propagationPolicy,
        preconditions: hasPreconditions ? { uid, resourceVersion } : undefined,
      });
      try {
        await run({ method: 'DELETE', path, body: { type: JSON_TYPE, text } }, callOptions);
      } catch (error) {
        if (!isKubeError(error, 'not-found')) throw error;
      }
    },

    raw: (path, callOptions) => run({ method: 'GET', path }, callOptions),

    watchStream: <Type extends KubeObject>(path: string, query: Query, signal: AbortSignal) =>
      watchEvents<Type>(
        { transport, access, headersTimeoutMs: timeoutMs, maxAnswerBytes },
        withQuery(path, { ...query, watch: true, allowWatchBookmarks: true }),
        AbortSignal.any([signal, closed.signal]),
      ),

    async close() {
      closed.abort();
      await transport.close();
    },
  };
}

const isSuccess = ({ status }: Answer): boolean => status >= 200 && status < 300;

function withQuery(path: string, query: Query): string {
  const given = Object.entries(query).flatMap(([name, value]) =>
    value === undefined ? [] : [`${encodeURIComponent(name)}=${encodeURIComponent(value)}`],
  );
  return given.length === 0 ? path : `${path}${path.includes('?') ? '&' : '?'}${given.join('&')}`;
}

function parsed(text: string, { method, path }: Exchange): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new KubeError('malformed', `${method} ${path}: expected JSON, got ${text.slice(0, 100)}`, {
      cause: error,
    });
  }
}

function pause(waitMs: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const ended = (): void => {
      clearTimeout(timer);
      reject(signal.reason as Error);
    };
    const timer = setTimeout(() => {
      signal.removeEventListener('abort', ended);
      resolve();
    }, waitMs);
    signal.addEventListener('abort', ended, { once: true });
  });
}
