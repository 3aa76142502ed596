import { constants } from 'node:http2';
import { PilotlightError } from '../../../contracts/errors.ts';
import type { WireWriter } from '../../core/protobuf.ts';
import { decodeContent } from '../content-coding.ts';
import { Deadline } from '../deadline.ts';
import type { ExchangeOutcome } from '../exchange.ts';
import { Http2Exchange } from '../http2-exchange.ts';
import { HeldBytes } from '../read-body.ts';
import { headerText, type Serving } from '../work.ts';
import { COMMON_HEADERS, errorTrailers, sendError } from './grpc-answer.ts';
import { type Frame, FrameAssembler, frameHead } from './grpc-framing.ts';
import type { GrpcStream } from './grpc-stream.ts';

/**
 * A gRPC call of which either side may send any number of messages. It may be quiet between them for as long as it
 * likes; a message that has begun must get on, and an answer must be taken, within the limits of any other body.
 */
export class StreamedCall {
  readonly exchange: Http2Exchange;
  readonly #serving: Serving;
  readonly #call: GrpcStream;
  #isOver = false;

  constructor(serving: Serving, call: GrpcStream) {
    this.#serving = serving;
    this.#call = call;
    this.exchange = new Http2Exchange(call.stream, call.headers);
    this.exchange.onDone(() => {
      this.#isOver = true;
    });
  }

  /** True once it has been ended, or the client left. */
  get isOver(): boolean {
    return this.#isOver;
  }

  /**
   * The client's messages, each as it becomes whole, until it says that no more will come. The next one is read
   * when the last one has been taken.
   *
   * @throws PilotlightError `bad-framing`, `body-too-large`, `body-timeout`, `server-busy`, `client-closed`.
   */
  async *messages(): AsyncGenerator<Buffer, void, void> {
    const { limits, budget, watchdog } = this.#serving.reading;
    const assembler = new FrameAssembler(limits.maxBodyBytes);
    const held = new HeldBytes(budget);
    this.exchange.onDone(() => held.release());
    let deadline: Deadline | undefined;
    const chunks = this.#call.stream.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>;
    try {
      for await (const chunk of chunks) {
        deadline?.stop();
        held.take(chunk.length);
        for (const frame of assembler.push(chunk)) {
          yield await this.#payloadOf(frame);
          held.give(frame.sizeBytes);
        }
        if (assembler.isWithinMessage) {
          deadline = new Deadline(watchdog, performance.now() + limits.bodyIdleTimeoutMs, () =>
            this.fail(
              new PilotlightError('body-timeout', 'a message of the stream does not come to its end'),
            ),
          );
        }
      }
    } catch (error) {
      if (error instanceof PilotlightError) throw error;
      throw new PilotlightError('client-closed', 'the stream ended before its messages did', {
        cause: error,
      });
    } finally {
      deadline?.stop();
      held.release();
    }
    if (assembler.isWithinMessage && !this.#isOver) {
      throw new PilotlightError('bad-framing', 'the stream ended within a message');
    }
  }

  async #payloadOf({ isCompressed, payload }: Frame): Promise<Buffer> {
    if (!isCompressed) return payload;
    const encoding = headerText(this.exchange, 'grpc-encoding');
    const inflating = new HeldBytes(this.#serving.reading.budget);
    try {
      return await decodeContent(payload, encoding, this.#serving.reading.limits.maxBodyBytes, inflating);
    } finally {
      inflating.release();
    }
  }

  /**
   * Sends one message; resolves when the client can take another.
   *
   * @throws PilotlightError `client-closed`.
   */
  async send(message: WireWriter): Promise<void> {
    if (this.#isOver) throw clientLeft();
    const { stream } = this.#call;
    this.#respond();
    const chunks = message.finish();
    stream.cork();
    stream.write(frameHead(message.sizeBytes));
    for (const chunk of chunks) stream.write(chunk);
    stream.uncork();
    if (stream.writableNeedDrain) await this.#drained();
  }

  /** Ends the call well. */
  end(): void {
    this.#finish({ 'grpc-status': '0' });
  }

  /** Ends the call with an error; what has been sent stays sent. */
  fail(error: PilotlightError): void {
    if (this.#isOver) return;
    const { stream } = this.#call;
    if (stream.headersSent) this.#finish(errorTrailers(error));
    else {
      this.#isOver = true;
      sendError(this.#call, error);
    }
  }

  #respond(): void {
    const { stream } = this.#call;
    if (stream.headersSent || stream.destroyed || stream.closed) return;
    stream.respond({ ...COMMON_HEADERS }, { waitForTrailers: true });
  }

  #finish(trailers: Record<string, string>): void {
    const { stream } = this.#call;
    if (this.#isOver || stream.destroyed || stream.closed) return;
    this.#respond();
    this.#isOver = true;
    stream.once('wantTrailers', () => {
      stream.sendTrailers(trailers);
      // The rest of what the client still sends is refused, not read.
      if (!stream.readableEnded) setImmediate(() => stream.close(constants.NGHTTP2_NO_ERROR));
    });
    stream.end();
    const { watchdog, limits } = this.#serving.reading;
    this.exchange.watchWriting(watchdog, limits.writeIdleTimeoutMs);
  }

  #drained(): Promise<void> {
    const { stream } = this.#call;
    const { watchdog, limits } = this.#serving.reading;
    return new Promise((resolve, reject) => {
      const settle = (): void => {
        deadline.stop();
        stream.off('drain', onDrain);
      };
      const onDrain = (): void => {
        settle();
        resolve();
      };
      const deadline = new Deadline(watchdog, performance.now() + limits.writeIdleTimeoutMs, () =>
        this.exchange.destroy(),
      );
      stream.on('drain', onDrain);
      this.exchange.onDone(() => {
        settle();
        reject(clientLeft());
      });
    });
  }
}

/** The work on one message of a stream: it ends with its own answer, or with the stream. */
export class StreamTurn {
  readonly headers: Http2Exchange['headers'];
  readonly #listeners: ((outcome: ExchangeOutcome) => void)[] = [];
  #outcome: ExchangeOutcome | undefined;

  constructor(exchange: Http2Exchange) {
    this.headers = exchange.headers;
  }

  onDone(listener: (outcome: ExchangeOutcome) => void): void {
    if (this.#outcome === undefined) this.#listeners.push(listener);
    else listener(this.#outcome);
  }

  finish(outcome: ExchangeOutcome): void {
    if (this.#outcome !== undefined) return;
    this.#outcome = outcome;
    for (const listener of this.#listeners) listener(outcome);
  }
}

function clientLeft(): PilotlightError {
  return new PilotlightError('client-closed', 'the client left the stream');
}
