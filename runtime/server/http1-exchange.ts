import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Readable } from 'node:stream';
import {
  type Answer,
  BaseExchange,
  bodySizeBytes,
  type Exchange,
  type ExchangeOutcome,
  LINGER_MS,
} from './exchange.ts';

/**
 * The exchanges that are open on each connection. Node emits nothing on a pipelined response that waits behind
 * another one when its connection ends, so the connection itself has to tell them.
 */
const OPEN_EXCHANGES = new WeakMap<Socket, Set<Http1Exchange>>();

function openExchangesOf(socket: Socket): Set<Http1Exchange> {
  const known = OPEN_EXCHANGES.get(socket);
  if (known !== undefined) return known;
  const open = new Set<Http1Exchange>();
  OPEN_EXCHANGES.set(socket, open);
  socket.once('close', () => {
    for (const exchange of open) exchange.finish('left');
  });
  return open;
}

/**
 * Up to this size a body goes out as a string that holds one byte a character: Node joins it with the head and
 * writes both at once, where a head and a buffer make a gathering write that takes 45 µs longer.
 */
const ONE_WRITE_BYTES = 16 * 1024;

/** An unread body up to this size is read and thrown away instead of ending the connection. */
const SKIPPED_BYTES = 64 * 1024;

function latin1(chunk: Uint8Array): string {
  return Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength).toString('latin1');
}

/** An exchange over HTTP/1.1. */
export class Http1Exchange extends BaseExchange implements Exchange {
  readonly protocol = 'http/1.1';
  readonly #request: IncomingMessage;
  readonly #response: ServerResponse;
  readonly #socket: Socket;
  readonly #open: Set<Http1Exchange>;
  #continueWanted: boolean;
  #isTaken = false;

  constructor(request: IncomingMessage, response: ServerResponse, expectsContinue: boolean) {
    super();
    this.#request = request;
    this.#response = response;
    this.#socket = request.socket;
    this.#continueWanted = expectsContinue;
    this.#open = openExchangesOf(this.#socket);
    this.#open.add(this);
  }

  get method(): string {
    return this.#request.method ?? 'GET';
  }

  get target(): string {
    return this.#request.url ?? '/';
  }

  get headers(): IncomingHttpHeaders {
    return this.#request.headers;
  }

  get body(): Readable {
    return this.#request;
  }

  get hasBody(): boolean {
    const { headers } = this.#request;
    return headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0;
  }

  takeWhole(sizeBytes: number): Buffer | undefined {
    if (sizeBytes === 0 || this.#request.readableLength !== sizeBytes) return undefined;
    // Node tells the end of the request only after this turn; the length says it already.
    this.#isTaken = true;
    return this.#request.read() as Buffer;
  }

  sendContinue(): void {
    if (!this.#continueWanted) return;
    this.#continueWanted = false;
    this.#response.writeContinue();
  }

  send({ status, headers, body }: Answer): void {
    if (this.isOver || this.#response.headersSent) return;
    const response = this.#response;
    const sizeBytes = bodySizeBytes(body);
    headers['content-length'] = String(sizeBytes);
    const isUnread = this.#leavesMuchUnread();
    if (isUnread) headers['connection'] = 'close';
    response.writeHead(status, headers);
    const finished = (): void => this.finish('answered');
    if (isUnread) {
      this.#sendAndLinger(body, finished);
      return;
    }
    if (typeof body === 'string') {
      response.end(body, finished);
      return;
    }
    if (sizeBytes <= ONE_WRITE_BYTES) {
      response.end(body.map(latin1).join(''), 'latin1', finished);
      return;
    }
    const last = body.length - 1;
    for (let index = 0; index < last; index++) response.write(body[index]);
    response.end(body[last], finished);
  }

  protected progress(): number {
    return this.#socket.bytesWritten - this.#socket.writableLength;
  }

  destroy(): void {
    this.#socket.destroy();
  }

  finish(outcome: ExchangeOutcome): void {
    this.#open.delete(this);
    this.settle(outcome);
  }

  /** Little is left to Node, which throws it away and keeps the connection: a refusal must not cost a new one. */
  #leavesMuchUnread(): boolean {
    if (this.#isTaken || this.#request.complete) return false;
    const { headers } = this.#request;
    if (headers['transfer-encoding'] !== undefined) return true;
    const announcedBytes = Number(headers['content-length'] ?? 0);
    return announcedBytes > SKIPPED_BYTES || (announcedBytes > 0 && this.#continueWanted);
  }

  /**
   * A connection that is closed with unread data is reset, and the reset can overtake the answer. So the answer
   * goes out whole, what still comes is thrown away for a moment, and only then does the connection end.
   */
  #sendAndLinger(body: Answer['body'], finished: () => void): void {
    const response = this.#response;
    for (const chunk of typeof body === 'string' ? [body] : body) response.write(chunk);
    const end = (): void => {
      clearTimeout(timer);
      this.#request.off('end', end);
      response.end(finished);
    };
    const timer = setTimeout(end, this.#continueWanted ? 0 : LINGER_MS);
    this.#request.on('end', end);
    this.#socket.once('close', () => clearTimeout(timer));
    this.#request.resume();
  }
}
