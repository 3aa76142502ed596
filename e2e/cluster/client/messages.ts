/** What the client pod is asked, and what it answers. Nothing is imported here: the pod has these two files alone. */

/** One HTTP request as the pod sends it, from inside the cluster. */
export interface ClientRequest {
  readonly url: string;
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly bodyBase64?: string;
  readonly timeoutMs?: number;
}

/** What is said over a WebSocket. */
export interface TalkRequest {
  readonly url: string;
  /** Each is said once the one before has come back. */
  readonly texts: readonly string[];
  readonly timeoutMs?: number;
}

export interface ClientAnswer {
  /** 0 when there was no answer; `error` says why. */
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly bodyBase64: string;
  /** From the first byte sent to the last one received, connecting included. */
  readonly tookMs: number;
  readonly error?: string;
}

/** Requests that go on until they are ended. */
export interface LoadRequest {
  /** Sent in turn. */
  readonly targets: readonly ClientRequest[];
  /** Connections; each sends one request after the other. */
  readonly connections: number;
  /** Of each connection between two requests. */
  readonly pauseMs?: number;
  /** A new connection for every request. */
  readonly withoutKeepAlive?: boolean;
}

export interface LoadFailure {
  readonly atMs: number;
  /** Index among the targets. */
  readonly target: number;
  readonly status: number;
  /** The error, or the beginning of the answer's body. */
  readonly text: string;
  /** How long it was under way. */
  readonly tookMs: number;
}

export interface LoadResult {
  readonly sent: number;
  readonly answered: number;
  /** Those that were not answered with 200, the first hundred of them. */
  readonly failed: number;
  readonly failures: readonly LoadFailure[];
  /** How often each body came, by the target's index; bodies of more than 512 bytes by their length. */
  readonly bodies: readonly Readonly<Record<string, number>>[];
  /** Of answers with 200. */
  readonly latencyMs: {
    readonly p50: number;
    readonly p95: number;
    readonly p99: number;
    readonly max: number;
  };
  /** When the newest answer with 200 came, and the longest time without any between the first and that one. */
  readonly lastAnswerAtMs: number;
  readonly longestGapMs: number;
}
