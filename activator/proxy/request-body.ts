import { MAX_HELD_BYTES } from '../core/retry.ts';
import type { Caller } from './caller.ts';
import type { ProxyLimits } from './context.ts';
import type { UpstreamStream } from './upstream.ts';

/**
 * The body of a request on its way: unread while the request waits, held up to 64 KiB so that it can be sent
 * again, passed through without a copy beyond that, and never buffered.
 *
 * Small bodies of known length are read whole before the replica is asked, and before a permit of it is kept: one
 * packet upstream, and neither a replica nor those who wait for it wait for a slow client.
 */
export class RequestBody {
  readonly #caller: Caller;
  readonly #limits: ProxyLimits;
  readonly #onSlow: () => void;
  /** All chunks so far, unless `#lost`. */
  #held: Buffer[] = [];
  #heldBytes = 0;
  #lost = false;
  #whole: boolean;
  #reading = false;
  #trailers: string[] = [];
  /** Chunks go to the upstream as they come. */
  #flowing = false;
  #endSent = false;
  #upstreamFull = false;
  #windowBytes = 0;
  #window: NodeJS.Timeout | undefined;

  constructor(caller: Caller, limits: ProxyLimits, onSlow: () => void) {
    this.#caller = caller;
    this.#limits = limits;
    this.#onSlow = onSlow;
    this.#whole = caller.bodyLength === 0;
  }

  /** Known and small: read before the replica is asked. */
  get isReadFirst(): boolean {
    const { bodyLength } = this.#caller;
    return bodyLength !== undefined && bodyLength <= MAX_HELD_BYTES;
  }

  get isWhole(): boolean {
    return this.#whole;
  }

  /** Whether it can still be sent from its beginning. */
  get isHeld(): boolean {
    return !this.#lost;
  }

  get knownLength(): number | undefined {
    return this.#caller.bodyLength;
  }

  /** Begins or goes on reading from the client. */
  read(): void {
    if (this.#whole) return;
    if (!this.#reading) {
      this.#reading = true;
      this.#caller.startBody();
      this.#watch();
    } else this.#caller.resumeBody();
  }

  /** A chunk has come; it is passed on where `stream` takes the body by now. */
  take(chunk: Buffer, stream: UpstreamStream | undefined): void {
    this.#windowBytes += chunk.length;
    if (!this.#lost) {
      this.#held.push(chunk);
      this.#heldBytes += chunk.length;
    }
    if (stream === undefined || !this.#flowing) return;
    if (!this.#lost && this.#heldBytes > MAX_HELD_BYTES) {
      this.#lost = true;
      this.#held = [];
    }
    if (stream.write(chunk)) return;
    this.#upstreamFull = true;
    this.#caller.pauseBody();
  }

  finish(trailers: string[]): void {
    this.#whole = true;
    this.#trailers = trailers;
    clearInterval(this.#window);
  }

  /** Sends what is held and lets the rest follow. */
  sendTo(stream: UpstreamStream): void {
    if (this.#flowing) return;
    this.#flowing = true;
    let more = true;
    for (const chunk of this.#held) more = stream.write(chunk);
    if (this.#heldBytes > MAX_HELD_BYTES) {
      this.#lost = true;
      this.#held = [];
    }
    if (this.#whole) this.sendEnd(stream);
    else if (more) this.read();
    else this.#upstreamFull = true;
  }

  sendEnd(stream: UpstreamStream): void {
    if (!this.#flowing || this.#endSent) return;
    this.#endSent = true;
    stream.end(this.#trailers);
  }

  /** From now on what comes is no body but the client's half of a tunnel. */
  tunnelTo(stream: UpstreamStream): void {
    this.#lost = true;
    this.#whole = false;
    this.#endSent = false;
    this.#flowing = false;
    this.sendTo(stream);
    clearInterval(this.#window);
  }

  /** The upstream takes more. */
  drained(): void {
    if (!this.#upstreamFull) return;
    this.#upstreamFull = false;
    this.#caller.resumeBody();
  }

  /** Back to the beginning, for another attempt; only while it is held. */
  rewind(): void {
    if (this.#flowing && this.#reading && !this.#whole) this.#caller.pauseBody();
    this.#flowing = false;
    this.#endSent = false;
    this.#upstreamFull = false;
  }

  /** The answer began before the body was over: both may now flow as slowly as they like. */
  answerBegan(): void {
    clearInterval(this.#window);
  }

  stop(): void {
    clearInterval(this.#window);
    this.#held = [];
  }

  /**
   * A client that trickles its body holds memory meanwhile, and a large one a replica's permit. In each window that
   * we wait for it, some must come: with 5,000 bytes in 10 s, one byte a second is cut off after 10 s.
   */
  #watch(): void {
    if (this.#caller.isGrpc) return;
    this.#windowBytes = 0;
    this.#window = setInterval(() => {
      const slow =
        this.#windowBytes < this.#limits.bodyWindowBytes && !this.#upstreamFull && this.#flowingOrFirst;
      this.#windowBytes = 0;
      if (slow) this.#onSlow();
    }, this.#limits.bodyWindowMs);
  }

  /** False between two attempts, when the client is not asked for more. */
  get #flowingOrFirst(): boolean {
    return this.#flowing || this.isReadFirst;
  }
}
