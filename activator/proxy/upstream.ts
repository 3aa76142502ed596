/**
 * The one face of an upstream, whatever its protocol: a request goes out, its answer comes back as events.
 * Written with callbacks and not with streams: a stream per hop costs a third of the throughput.
 */

/** A request as it goes out. Headers are names and values in turn, framing and connection headers not among them. */
export interface OutgoingRequest {
  method: string;
  path: string;
  /** Host, as the client named it. */
  authority: string;
  headers: string[];
  /** 0: no body; `undefined`: unknown, chunked. */
  bodyLength: number | undefined;
  /** Ask the upstream before the body is sent (RFC 9110 §10.1.1), so that a refusal leaves the body unread. */
  expectContinue: boolean;
  /** Protocol to switch to, for a tunnel. */
  upgrade?: string;
}

/**
 * How a request failed before its answer began.
 *
 * - `connect`: no byte left.
 * - `refused`: the upstream says that it did not look at it (REFUSED_STREAM, GOAWAY).
 * - `stale`: a kept connection was closed by the other side as it was used again; it may or may not have
 *   been read.
 * - `broken`: it may have been worked on.
 * - `protocol`: the upstream doesn't speak HTTP/2.
 */
export type UpstreamFailureKind = 'connect' | 'refused' | 'stale' | 'broken' | 'protocol';

export interface UpstreamFailure {
  kind: UpstreamFailureKind;
  reason: string;
  /** RST_STREAM code of an HTTP/2 upstream. */
  resetCode?: number;
}

/** What becomes of a request. After `onEnd` or `onFailure` nothing more comes. */
export interface UpstreamHandler {
  /** The body may be sent now: connected, and let in where asked. */
  onReady(): void;
  onHead(status: number, statusText: string, headers: string[]): void;
  onData(chunk: Buffer): void;
  /** What has come so far is passed on; nothing more lies ready, so it should not be held back. */
  onPause(): void;
  onEnd(trailers: string[]): void;
  /** What was written is on its way; more may be written. */
  onUpstreamDrain(): void;
  /** Before or after the head. */
  onFailure(failure: UpstreamFailure): void;
}

/** A request under way. */
export interface UpstreamStream {
  /** False asks to wait for `onUpstreamDrain`. */
  write(chunk: Buffer): boolean;
  end(trailers: string[]): void;
  /** Stops and restarts the flow of the answer. */
  pause(): void;
  resume(): void;
  /**
   * Nobody wants the answer any more. No event comes after this; `onFree` is called once the upstream has let
   * go of the request, or after a bounded time.
   */
  abandon(onFree: () => void): void;
}

/** Connections to one endpoint. */
export interface Upstream {
  open(request: OutgoingRequest, handler: UpstreamHandler): UpstreamStream;
  /** Closes idle connections now and the others when their requests are over. */
  close(): void;
}
