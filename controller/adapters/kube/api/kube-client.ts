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
  readonly fieldManager?: string;
  readonly timeoutMs?: number;
  readonly maxConcurrentCalls?: number;
  readonly maxAnswerBytes?: number;
}

/** Where the API server is and who we are. */
export interface KubeAccess {
  /** E.g. `https://10.96.0.1:443`. */
  readonly server: string;
  readonly tls: {
    readonly ca?: string | Buffer;
    readonly cert?: string | Buffer;
    readonly key?: string | Buffer;
    readonly servername?: string;
    readonly rejectUnauthorized?: boolean;
  };
  /** Headers that say who we are, read again as tokens rotate. */
  headers(): Promise<Readonly<Record<string, string>>>;
  /** The server refused what `headers()` gave: read anew at the next call. */
  refused(): void;
  /** Namespace of the pod or of the kubeconfig's context. */
  readonly namespace: string | undefined;
}

export declare function createKubeClient(options: KubeClientOptions): KubeClient;
