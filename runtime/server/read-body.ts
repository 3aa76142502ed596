import { PilotlightError } from '../../contracts/errors.ts';
import type { ByteBudget } from './byte-budget.ts';
import type { Exchange } from './exchange.ts';
import type { ServerLimits } from './limits.ts';
import type { Watchdog, Watched } from './watchdog.ts';

const CHUNKS_PER_SEGMENT = 512;

/** What reading bodies shares among all requests. */
export interface BodyReading {
  limits: Readonly<ServerLimits>;
  budget: ByteBudget;
  watchdog: Watchdog;
}

/** Accounts the bytes of one exchange, and gives them all back at its end. */
export class HeldBytes {
  readonly #budget: ByteBudget;
  #sizeBytes = 0;
  #isReleased = false;

  constructor(budget: ByteBudget) {
    this.#budget = budget;
  }

  /** @throws PilotlightError `server-busy` when they don't fit now. */
  take(sizeBytes: number): void {
    if (this.#isReleased) return;
    this.#budget.take(sizeBytes);
    this.#sizeBytes += sizeBytes;
  }

  takeAnyway(sizeBytes: number): void {
    if (this.#isReleased) return;
    this.#budget.takeAnyway(sizeBytes);
    this.#sizeBytes += sizeBytes;
  }

  /** Gives back a part, before the end. */
  give(sizeBytes: number): void {
    if (this.#isReleased) return;
    this.#budget.give(sizeBytes);
    this.#sizeBytes -= sizeBytes;
  }

  release(): void {
    if (this.#isReleased) return;
    this.#isReleased = true;
    this.#budget.give(this.#sizeBytes);
  }
}

/**
 * What the head of a request says about its body, checked before any of it is read.
 *
 * @returns the announced length in bytes, undefined for a chunked or HTTP/2 body without one.
 * @throws PilotlightError `body-too-large` (413), `bad-framing` (411 without a length), `server-busy` (503).
 */
export function checkBodyHead(exchange: Exchange, { limits, budget }: BodyReading): number | undefined {
  const announced = exchange.headers['content-length'];
  if (announced === undefined) {
    if (exchange.protocol === 'http/1.1' && exchange.headers['transfer-encoding'] === undefined) {
      throw new PilotlightError(
        'bad-framing',
        'the request has no body; expected one with header Content-Length, or Transfer-Encoding: chunked',
        { status: 411 },
      );
    }
    return undefined;
  }
  const sizeBytes = Number(announced);
  if (!/^\d+$/.test(announced) || !Number.isSafeInteger(sizeBytes)) {
    throw new PilotlightError('bad-framing', 'header Content-Length must be a whole number of bytes');
  }
  if (sizeBytes > limits.maxBodyBytes) throw bodyTooLarge(sizeBytes, limits.maxBodyBytes);
  budget.refuseWhenFull(sizeBytes);
  return sizeBytes;
}

/** 413 with what is allowed and what came; `sizeBytes` undefined where only the excess is known. */
export function bodyTooLarge(sizeBytes: number | undefined, limitBytes: number): PilotlightError {
  const came = sizeBytes === undefined ? 'this one is larger' : `this one has ${sizeBytes}`;
  return new PilotlightError(
    'body-too-large',
    `the body may have ${limitBytes} bytes, ${came}; send less at once, or binary tensors instead of JSON`,
  );
}

/**
 * Reads the body to its end into one buffer, its bytes accounted in `held` as they come.
 *
 * A body whose length is announced is read into room of that length: the pages behind it are only used as they
 * are written, so a client that announces much and sends little costs little, and nothing is copied together at
 * the end (which would take twice the size).
 *
 * @throws PilotlightError `body-too-large`, `body-timeout`, `server-busy`, `client-closed`, `bad-framing`.
 */
export async function readBody(exchange: Exchange, reading: BodyReading, held: HeldBytes): Promise<Buffer> {
  const announcedBytes = checkBodyHead(exchange, reading);
  exchange.sendContinue();
  if (announcedBytes !== undefined && announcedBytes <= WITH_HEAD_BYTES) {
    await Promise.resolve();
    const whole = exchange.takeWhole(announcedBytes);
    if (whole !== undefined) {
      held.take(whole.length);
      return whole;
    }
  }
  return new Promise((resolve, reject) => {
    new BodyReader(exchange, reading, held, announcedBytes, resolve, reject).start();
  });
}

/** A small body mostly comes in one packet with its head; taking it whole is 10 µs cheaper than listening for it. */
const WITH_HEAD_BYTES = 32 * 1024;

class BodyReader implements Watched {
  readonly #exchange: Exchange;
  readonly #reading: BodyReading;
  readonly #held: HeldBytes;
  readonly #announcedBytes: number | undefined;
  readonly #resolve: (body: Buffer) => void;
  readonly #reject: (error: PilotlightError) => void;
  readonly #startedMs = performance.now();
  #room: Buffer | undefined;
  #segments: Buffer[] = [];
  #chunks: Buffer[] = [];
  #sizeBytes = 0;
  #lastSizeBytes = 0;
  #lastProgressMs = this.#startedMs;
  #isSettled = false;

  constructor(
    exchange: Exchange,
    reading: BodyReading,
    held: HeldBytes,
    announcedBytes: number | undefined,
    resolve: (body: Buffer) => void,
    reject: (error: PilotlightError) => void,
  ) {
    this.#exchange = exchange;
    this.#reading = reading;
    this.#held = held;
    this.#announcedBytes = announcedBytes;
    this.#resolve = resolve;
    this.#reject = reject;
  }

  start(): void {
    const { body } = this.#exchange;
    if (body.readableEnded) {
      // An empty body over HTTP/2 ends by itself, maybe before anybody listens.
      this.#onEnd();
      return;
    }
    if (body.destroyed) {
      this.#onBroken();
      return;
    }
    body.on('data', this.#onData);
    body.on('end', this.#onEnd);
    body.on('error', this.#onBroken);
    body.on('close', this.#onBroken);
    this.#reading.watchdog.add(this);
  }

  check(nowMs: number): void {
    const { bodyIdleTimeoutMs, minBodyBytesPerSecond } = this.#reading.limits;
    if (this.#sizeBytes > this.#lastSizeBytes) {
      this.#lastSizeBytes = this.#sizeBytes;
      this.#lastProgressMs = nowMs;
    }
    const ageMs = nowMs - this.#startedMs;
    if (nowMs - this.#lastProgressMs > bodyIdleTimeoutMs) {
      this.#fail(
        new PilotlightError(
          'body-timeout',
          `nothing of the body came for ${bodyIdleTimeoutMs / 1000} seconds`,
        ),
      );
    } else if (ageMs > bodyIdleTimeoutMs && this.#sizeBytes < (minBodyBytesPerSecond * ageMs) / 1000) {
      this.#fail(
        new PilotlightError(
          'body-timeout',
          `the body comes at less than ${minBodyBytesPerSecond} bytes a second: ${this.#sizeBytes} bytes in ${Math.round(ageMs / 1000)} seconds`,
        ),
      );
    }
  }

  readonly #onData = (chunk: Buffer): void => {
    const sizeBytes = this.#sizeBytes + chunk.length;
    const { maxBodyBytes } = this.#reading.limits;
    if (sizeBytes > maxBodyBytes) {
      this.#fail(bodyTooLarge(undefined, maxBodyBytes));
      return;
    }
    const announcedBytes = this.#announcedBytes;
    if (announcedBytes !== undefined && sizeBytes > announcedBytes) {
      this.#fail(new PilotlightError('bad-framing', 'the body is longer than header Content-Length says'));
      return;
    }
    try {
      this.#held.take(chunk.length);
    } catch (error) {
      this.#fail(error as PilotlightError);
      return;
    }
    if (announcedBytes === undefined || (this.#sizeBytes === 0 && chunk.length === announcedBytes)) {
      this.#keep(chunk);
    } else {
      this.#room ??= Buffer.allocUnsafeSlow(announcedBytes);
      this.#room.set(chunk, this.#sizeBytes);
    }
    this.#sizeBytes = sizeBytes;
  };

  readonly #onEnd = (): void => {
    if (!this.#settle()) return;
    if (this.#announcedBytes !== undefined && this.#sizeBytes < this.#announcedBytes) {
      this.#reject(new PilotlightError('bad-framing', 'the body is shorter than header Content-Length says'));
      return;
    }
    const [first] = this.#chunks;
    if (this.#room !== undefined) this.#resolve(this.#room);
    else if (first !== undefined && this.#chunks.length === 1 && this.#segments.length === 0)
      this.#resolve(first);
    else this.#resolve(Buffer.concat([...this.#segments, ...this.#chunks]));
  };

  readonly #onBroken = (): void => {
    this.#fail(new PilotlightError('client-closed', 'the connection ended before the body did'));
  };

  /** Chunks of one byte each would take a hundred times their size, so they are put together now and then. */
  #keep(chunk: Buffer): void {
    this.#chunks.push(chunk);
    if (this.#chunks.length < CHUNKS_PER_SEGMENT) return;
    this.#segments.push(Buffer.concat(this.#chunks));
    this.#chunks = [];
  }

  #fail(error: PilotlightError): void {
    if (!this.#settle()) return;
    this.#chunks = [];
    this.#segments = [];
    this.#room = undefined;
    this.#exchange.body.pause();
    this.#reject(error);
  }

  #settle(): boolean {
    if (this.#isSettled) return false;
    this.#isSettled = true;
    const { body } = this.#exchange;
    body.off('data', this.#onData);
    body.off('end', this.#onEnd);
    body.off('error', this.#onBroken);
    body.off('close', this.#onBroken);
    this.#reading.watchdog.remove(this);
    return true;
  }
}
