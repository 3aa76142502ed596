/** What a load generator is told, and what it tells; both sides are ours, over a child's message channel. */

export interface Target {
  readonly host: string;
  readonly port: number;
  /** Head and body of the one request that is sent again and again, as they go over the wire. */
  readonly request: Uint8Array;
}

export type ToLoad =
  | {
      readonly kind: 'start';
      readonly target: Target;
      readonly connections: number;
      /** Requests per second over all connections; absent: each sends its next as soon as it has its answer. */
      readonly ratePerSecond?: number;
      /** Ends by itself after so many requests. */
      readonly limit?: number;
    }
  /** Opens more connections, or lets some end after the request that they are at. */
  | { readonly kind: 'connections'; readonly count: number }
  /** No new requests; tells the outcome once those under way are over. */
  | { readonly kind: 'stop' };

export interface LoadOutcome {
  /** Answered with 200. */
  readonly succeeded: number;
  /** Everything else, by status and code, or by what happened to the connection. */
  readonly failed: Readonly<Record<string, number>>;
  /** Of those that succeeded, from sending the request to the last byte of its answer. */
  readonly latenciesMs: Float64Array;
  /** From the first request to the last answer. */
  readonly durationMs: number;
  /** CPU time that the generator itself took. */
  readonly cpuMs: number;
}

export type FromLoad =
  | { readonly kind: 'ready' }
  | { readonly kind: 'outcome'; readonly outcome: LoadOutcome };
