/** Bounds of the serving port. Every one has a default that suits a container of 1 GiB. */
export interface ServerLimits {
  /** One request body, compressed or not, and one gRPC message. */
  maxBodyBytes: number;
  /** All bodies held at once, from their first byte until their answer is written; more is 503 `server-busy`. */
  maxBodyBytesInFlight: number;
  /** A body that brings nothing for this long is 408 `body-timeout`. */
  bodyIdleTimeoutMs: number;
  /**
   * A body must come at this rate on average, once `bodyIdleTimeoutMs` have passed: a client that sends one
   * byte a second never idles, yet would hold its place for a month.
   */
  minBodyBytesPerSecond: number;
  /** An answer of which the client takes nothing for this long is cut off. */
  writeIdleTimeoutMs: number;
  /** The head of a request must be whole by then. */
  headersTimeoutMs: number;
  /** A connection that says nothing at all. */
  firstByteTimeoutMs: number;
  /** A connection between two requests; above the idle time of whoever pools connections to here. */
  keepAliveTimeoutMs: number;
  maxHeaderBytes: number;
  maxConnections: number;
  /** Requests at once on one HTTP/2 connection. */
  maxStreamsPerConnection: number;
  /** Requests that wait for a place at the model; absent: 4 × its capacity, at least 128. */
  maxWaiting: number | undefined;
}

const MEBIBYTE = 1024 * 1024;

const DEFAULT_SERVER_LIMITS: Readonly<ServerLimits> = Object.freeze({
  maxBodyBytes: 64 * MEBIBYTE,
  maxBodyBytesInFlight: 256 * MEBIBYTE,
  bodyIdleTimeoutMs: 20_000,
  minBodyBytesPerSecond: 1024,
  writeIdleTimeoutMs: 60_000,
  headersTimeoutMs: 20_000,
  firstByteTimeoutMs: 20_000,
  keepAliveTimeoutMs: 95_000,
  maxHeaderBytes: 32 * 1024,
  maxConnections: 10_000,
  maxStreamsPerConnection: 256,
  maxWaiting: undefined,
});

/**
 * The given limits over the defaults, checked and frozen.
 *
 * @throws RangeError that names the limit, what it must be and what came.
 */
export function resolveLimits(given: Partial<ServerLimits> = {}): Readonly<ServerLimits> {
  const limits: ServerLimits = { ...DEFAULT_SERVER_LIMITS, ...given };
  for (const [name, value] of Object.entries(limits)) {
    if (name === 'maxWaiting' && (value === undefined || value === 0)) continue;
    if (typeof value !== 'number' || !Number.isFinite(value) || value <= 0) {
      throw new RangeError(`limit ${name} must be a number above 0, got ${String(value)}`);
    }
  }
  // A body that is allowed by itself must fit into what all bodies together may take.
  limits.maxBodyBytesInFlight = Math.max(limits.maxBodyBytesInFlight, limits.maxBodyBytes);
  return Object.freeze(limits);
}
