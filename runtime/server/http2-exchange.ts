import { constants, type IncomingHttpHeaders, type ServerHttp2Stream } from 'node:http2';
import type { Readable } from 'node:stream';
import { type Answer, BaseExchange, bodySizeBytes, type Exchange } from './exchange.ts';

/** An exchange over HTTP/2: one stream. */
export class Http2Exchange extends BaseExchange implements Exchange {
  readonly protocol = 'http/2';
  readonly method: string;
  readonly target: string;
  readonly headers: IncomingHttpHeaders;
  readonly #stream: ServerHttp2Stream;
  #continueWanted: boolean;

  constructor(stream: ServerHttp2Stream, headers: IncomingHttpHeaders) {
    super();
    this.#stream = stream;
    this.headers = headers;
    this.method = headers[':method'] ?? 'GET';
    this.target = headers[':path'] ?? '/';
    this.#continueWanted = headers['expect'] === '100-continue';
    stream.on('error', () => undefined);
    stream.once('close', () => {
      const wasAnswered = stream.writableFinished && stream.rstCode === constants.NGHTTP2_NO_ERROR;
      this.settle(wasAnswered ? 'answered' : 'left');
    });
  }

  get body(): Readable {
    return this.#stream;
  }

  get hasBody(): boolean {
    return !this.#stream.endAfterHeaders;
  }

  takeWhole(sizeBytes: number): Buffer | undefined {
    if (sizeBytes === 0 || this.#stream.readableLength !== sizeBytes) return undefined;
    return this.#stream.read() as Buffer;
  }

  sendContinue(): void {
    if (!this.#continueWanted) return;
    this.#continueWanted = false;
    if (!this.#stream.destroyed) this.#stream.additionalHeaders({ ':status': 100 });
  }

  send({ status, headers, body }: Answer): void {
    const stream = this.#stream;
    if (stream.destroyed || stream.closed || stream.headersSent) return;
    // HTTP/2 has no such header (RFC 9113 §8.2.2); leaving is said by GOAWAY.
    delete headers['connection'];
    headers['content-length'] = String(bodySizeBytes(body));
    stream.respond({ ...headers, ':status': status });
    if (this.method === 'HEAD') return;
    if (typeof body === 'string') stream.end(body);
    else {
      const last = body.length - 1;
      for (let index = 0; index < last; index++) stream.write(body[index]);
      stream.end(body[last]);
    }
    if (!stream.readableEnded && this.hasBody) {
      // The rest of a body that nobody wants is refused, not read (RFC 9113 §8.1).
      stream.once('finish', () => stream.close(constants.NGHTTP2_NO_ERROR));
    }
  }

  protected progress(): number {
    return -this.#stream.bufferSize - this.#stream.writableLength;
  }

  destroy(): void {
    this.#stream.close(constants.NGHTTP2_CANCEL);
  }
}
