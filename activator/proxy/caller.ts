import type { PilotlightError } from '../../contracts/errors.ts';

/**
 * The one face of a client's request, whatever the protocol. Its body is not read before `startBody`, and a
 * client that waits for 100 Continue gets it only then.
 */
export interface Caller {
  readonly method: string;
  /** Request target in origin form. */
  readonly path: string;
  /** Host or :authority as sent, empty for none. */
  readonly host: string;
  /** Names and values in turn, without pseudo headers. */
  readonly headers: readonly string[];
  /** 0: no body; `undefined`: unknown until it ends. */
  readonly bodyLength: number | undefined;
  readonly protocol: 'http1' | 'http2';
  readonly isGrpc: boolean;
  /** Protocol that the client wants to switch to. */
  readonly upgrade: string | undefined;
  readonly remoteAddress: string;
  /** Sets who hears of it; events begin with the next turn. */
  listen(events: CallerEvents): void;
  /**
   * The request waits: leave a body that is too large to be held in the kernel, and with it the news of the
   * client's leaving. Smaller ones are let in, so that a client that leaves is noticed at once.
   */
  holdBack(): void;
  startBody(): void;
  pauseBody(): void;
  resumeBody(): void;
  /**
   * The head of the answer; it may be held back until `flush`, the second `write` or `end`.
   *
   * @param last no other request should come on this connection.
   */
  respond(status: number, statusText: string, headers: string[], last: boolean): void;
  flush(): void;
  write(chunk: Buffer): void;
  /** True while what was written is more than the client takes; `onClientDrain` tells when it is over. */
  readonly needsDrain: boolean;
  end(trailers: string[]): void;
  /** Cuts the answer off, so that the client can't take it for whole. */
  abort(cutOff: CutOff): void;
}

/** Why an answer ends in its middle. */
export interface CutOff {
  error: PilotlightError;
  /** The upstream's own RST_STREAM code, to be passed on where the protocol has one. */
  resetCode?: number;
}

export interface CallerEvents {
  onBody(chunk: Buffer): void;
  onBodyEnd(trailers: string[]): void;
  onClientDrain(): void;
  /** The client left before its answer was whole. */
  onGone(): void;
}
