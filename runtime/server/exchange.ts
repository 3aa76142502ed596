import type { IncomingHttpHeaders } from 'node:http';
import type { Readable } from 'node:stream';
import type { Watchdog } from './watchdog.ts';

/** An answer that is in memory as a whole; its chunks are written as they are, never put together. */
export interface Answer {
  status: number;
  /** Names in lower case. `content-length` is added. */
  headers: Record<string, string>;
  body: string | readonly Uint8Array[];
}

/** One request and its answer, over HTTP/1.1 or HTTP/2 alike. */
export interface Exchange {
  readonly protocol: 'http/1.1' | 'http/2';
  readonly method: string;
  readonly target: string;
  readonly headers: IncomingHttpHeaders;
  /** The body as it comes; read it with `readBody`. */
  readonly body: Readable;
  /** False when the request's head says that no body follows. */
  readonly hasBody: boolean;
  /** Takes the body when all `sizeBytes` of it lie in the stream already; undefined when they don't. */
  takeWhole(sizeBytes: number): Buffer | undefined;
  /** Answers `Expect: 100-continue`, where the client asked for that. */
  sendContinue(): void;
  /** Calls each listener once: when the answer has been handed to the network, or when the client left before. */
  onDone(listener: (outcome: ExchangeOutcome) => void): void;
  /** Sends the answer, once. A body that was not read to its end is not read on: the connection or stream ends. */
  send(answer: Answer): void;
  watchWriting(watchdog: Watchdog, idleTimeoutMs: number): void;
  /** Ends it at once, without an answer. */
  destroy(): void;
}

export type ExchangeOutcome = 'answered' | 'left';

/** What both protocols do alike: the end of an exchange is told once to everybody who asked, and its writing watched. */
export abstract class BaseExchange {
  #outcome: ExchangeOutcome | undefined;
  #watchdog: Watchdog | undefined;
  #idleTimeoutMs = 0;
  #progress = Number.NaN;
  #progressMs = 0;
  #listeners: ((outcome: ExchangeOutcome) => void)[] = [];

  get isOver(): boolean {
    return this.#outcome !== undefined;
  }

  onDone(listener: (outcome: ExchangeOutcome) => void): void {
    if (this.#outcome === undefined) this.#listeners.push(listener);
    else listener(this.#outcome);
  }

  protected settle(outcome: ExchangeOutcome): void {
    if (this.#outcome !== undefined) return;
    this.#outcome = outcome;
    this.#watchdog?.remove(this);
    const listeners = this.#listeners;
    this.#listeners = [];
    for (const listener of listeners) listener(outcome);
  }

  /**
   * From now on the answer is being written. A client that takes nothing of it for `idleTimeoutMs` is cut off:
   * the answer's tensors stay in memory and its request counts as in flight as long as it is written, and a
   * service with a request in flight never goes back to zero.
   */
  watchWriting(watchdog: Watchdog, idleTimeoutMs: number): void {
    if (this.isOver) return;
    this.#idleTimeoutMs = idleTimeoutMs;
    this.#watchdog = watchdog;
    watchdog.add(this);
  }

  check(nowMs: number): void {
    const progress = this.progress();
    if (progress !== this.#progress) {
      this.#progress = progress;
      this.#progressMs = nowMs;
    } else if (nowMs - this.#progressMs > this.#idleTimeoutMs) {
      this.destroy();
    }
  }

  /** Bytes of the answer that have left so far, or any other figure that grows while the client takes them. */
  protected abstract progress(): number;

  /** Ends it at once, without an answer. */
  abstract destroy(): void;
}

/** How long the rest of a refused body is thrown away before the connection ends, so that the refusal arrives. */
export const LINGER_MS = 500;

/** Size of an answer's body. */
export function bodySizeBytes(body: Answer['body']): number {
  if (typeof body === 'string') return Buffer.byteLength(body);
  let sizeBytes = 0;
  for (const chunk of body) sizeBytes += chunk.byteLength;
  return sizeBytes;
}
