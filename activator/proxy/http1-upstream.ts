import { createConnection, type Socket } from 'node:net';
import { Http1ResponseParser, type ResponseEvents, type ResponseHead } from './http1-response-parser.ts';
import type {
  OutgoingRequest,
  Upstream,
  UpstreamFailure,
  UpstreamHandler,
  UpstreamStream,
} from './upstream.ts';

export interface Http1UpstreamOptions {
  connectTimeoutMs: number;
  /**
   * How long an idle connection is kept where the upstream doesn't say (`Keep-Alive: timeout=`). Below the 5 s
   * of Node and uvicorn, so that we are the one who closes: the other way round a request races the close.
   */
  idleMs: number;
  /** How long an upstream may hold on to a request that nobody wants any more. */
  abandonLimitMs: number;
  /** How long to wait for 100 Continue before the body is sent anyway (RFC 9110 §10.1.1). */
  continueTimeoutMs: number;
  now: () => number;
}

/** Longest idle time that is believed, whatever the upstream says. */
const LONGEST_IDLE_MS = 60_000;
const SWEEP_MS = 1_000;

/**
 * HTTP/1.1 connections to one endpoint, framed by hand: 20.9k requests/s where `http.request` makes 8.6k on the
 * same two cores. Never queues: who may send is decided before, so there is always a connection for it.
 */
export class Http1Upstream implements Upstream {
  readonly #host: string;
  readonly #port: number;
  readonly #options: Http1UpstreamOptions;
  readonly #idle: Http1Connection[] = [];
  #sweep: NodeJS.Timeout | undefined;
  #closed = false;

  /** @param address `host:port`, IPv6 in brackets. */
  constructor(address: string, options: Http1UpstreamOptions) {
    const colon = address.lastIndexOf(':');
    this.#host = address.slice(0, colon).replace(/^\[(.*)\]$/, '$1');
    this.#port = Number(address.slice(colon + 1));
    this.#options = options;
  }

  open(request: OutgoingRequest, handler: UpstreamHandler): UpstreamStream {
    const connection = this.#take() ?? this.#connect();
    connection.send(request, handler);
    return connection;
  }

  close(): void {
    this.#closed = true;
    this.#dropIdle();
  }

  /** The most recently used one first: the others come to rest and are closed. */
  #take(): Http1Connection | undefined {
    const nowMs = this.#options.now();
    for (let connection = this.#idle.pop(); connection !== undefined; connection = this.#idle.pop()) {
      if (connection.isUsable && nowMs < connection.idleUntilMs) return connection;
      connection.destroy();
    }
    return undefined;
  }

  #connect(): Http1Connection {
    const socket = createConnection({ host: this.#host, port: this.#port, noDelay: true });
    return new Http1Connection(socket, this.#options, {
      onIdle: (connection) => this.#keep(connection),
      // One was closed under us: its idle neighbours are no safer.
      onStale: () => this.#dropIdle(),
    });
  }

  #keep(connection: Http1Connection): void {
    if (this.#closed) {
      connection.destroy();
      return;
    }
    this.#idle.push(connection);
    if (this.#sweep === undefined) this.#sweepLater();
  }

  #closeRested(): void {
    this.#sweep = undefined;
    const nowMs = this.#options.now();
    const kept = this.#idle.filter((connection) => {
      if (connection.isUsable && nowMs < connection.idleUntilMs) return true;
      connection.destroy();
      return false;
    });
    this.#idle.splice(0, this.#idle.length, ...kept);
    if (kept.length > 0) this.#sweepLater();
  }

  #sweepLater(): void {
    this.#sweep = setTimeout(() => this.#closeRested(), SWEEP_MS).unref();
  }

  #dropIdle(): void {
    for (const connection of this.#idle.splice(0)) connection.destroy();
  }
}

interface ConnectionOwner {
  onIdle(connection: Http1Connection): void;
  onStale(): void;
}

/** One connection, which is also the stream of the request that it carries now. */
class Http1Connection implements UpstreamStream, ResponseEvents {
  /** Until when it may be used again, once idle. */
  idleUntilMs = 0;
  readonly #socket: Socket;
  readonly #options: Http1UpstreamOptions;
  readonly #owner: ConnectionOwner;
  readonly #parser: Http1ResponseParser;
  #handler: UpstreamHandler | undefined;
  #state: 'connecting' | 'open' | 'closed' = 'connecting';
  #reused = false;
  #keepAlive = false;
  #chunked = false;
  #tunnel = false;
  #bodySent = false;
  #awaitsContinue: NodeJS.Timeout | undefined;
  #lastError = 'the connection was closed';
  #onFree: (() => void) | undefined;

  constructor(socket: Socket, options: Http1UpstreamOptions, owner: ConnectionOwner) {
    this.#socket = socket;
    this.#options = options;
    this.#owner = owner;
    this.#parser = new Http1ResponseParser(this);
    const connectTimer = setTimeout(() => {
      this.#lastError = `no connection within ${options.connectTimeoutMs} ms`;
      socket.destroy();
    }, options.connectTimeoutMs);
    socket.on('connect', () => {
      clearTimeout(connectTimer);
      this.#state = 'open';
      if (this.#awaitsContinue === undefined) this.#handler?.onReady();
    });
    socket.on('data', (chunk: Buffer) => this.#onData(chunk));
    socket.on('drain', () => this.#handler?.onUpstreamDrain());
    socket.on('end', () => this.#onUpstreamEnd());
    socket.on('error', (error: NodeJS.ErrnoException) => {
      this.#lastError = error.code ?? error.message;
    });
    socket.on('close', () => {
      clearTimeout(connectTimer);
      this.#onClose();
    });
  }

  get isUsable(): boolean {
    return (
      this.#state === 'open' && !this.#socket.destroyed && this.#socket.writable && this.#socket.readable
    );
  }

  destroy(): void {
    this.#socket.destroy();
  }

  send(request: OutgoingRequest, handler: UpstreamHandler): void {
    this.#handler = handler;
    this.#keepAlive = false;
    this.#bodySent = request.bodyLength === 0;
    this.#chunked = request.bodyLength === undefined;
    this.#parser.expect(request.method, request.upgrade !== undefined);
    if (request.expectContinue) {
      this.#awaitsContinue = setTimeout(() => this.onInformation(100), this.#options.continueTimeoutMs);
    }
    // A head and its body in one packet: `end` in the same turn uncorks early.
    if (!this.#bodySent) this.#socket.cork();
    this.#socket.write(headOf(request), 'latin1');
    if (!this.#bodySent) process.nextTick(uncork, this.#socket);
    if (this.#state === 'open' && !request.expectContinue) process.nextTick(ready, handler, this);
  }

  /** Whether this connection still works for `handler`. */
  carries(handler: UpstreamHandler): boolean {
    return this.#handler === handler;
  }

  write(chunk: Buffer): boolean {
    const socket = this.#socket;
    if (!this.#chunked || this.#tunnel) return socket.write(chunk);
    if (chunk.length === 0) return true;
    socket.cork();
    socket.write(`${chunk.length.toString(16)}\r\n`, 'latin1');
    socket.write(chunk);
    const more = socket.write('\r\n', 'latin1');
    socket.uncork();
    return more;
  }

  end(trailers: string[]): void {
    if (this.#tunnel) {
      this.#socket.end();
      return;
    }
    if (this.#bodySent) return;
    this.#bodySent = true;
    if (this.#chunked) this.#socket.write(`0\r\n${fieldsOf(trailers)}\r\n`, 'latin1');
  }

  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  abandon(onFree: () => void): void {
    this.#handler = undefined;
    clearTimeout(this.#awaitsContinue);
    if (this.#state !== 'open' || this.#socket.destroyed || !this.#bodySent) {
      this.#socket.destroy();
      onFree();
      return;
    }
    // Our half is closed, which tells the upstream that nobody waits; it closes its half when the slot is free.
    this.#onFree = onFree;
    const limit = setTimeout(() => this.#socket.destroy(), this.#options.abandonLimitMs);
    this.#socket.once('close', () => clearTimeout(limit));
    this.#socket.end();
    this.#socket.resume();
  }

  onInformation(status: number): void {
    if (status !== 100 || this.#awaitsContinue === undefined) return;
    clearTimeout(this.#awaitsContinue);
    this.#awaitsContinue = undefined;
    // It has read the head, so a close from now on is no stale connection.
    this.#reused = false;
    if (this.#state === 'open') this.#handler?.onReady();
  }

  onHead({ status, statusText, headers, keepAlive }: ResponseHead): void {
    clearTimeout(this.#awaitsContinue);
    this.#awaitsContinue = undefined;
    this.#reused = true;
    this.#keepAlive = keepAlive;
    this.#tunnel = status === 101;
    if (keepAlive) this.idleUntilMs = idleMsOf(headers, this.#options.idleMs);
    this.#handler?.onHead(status, statusText, headers);
  }

  onData(chunk: Buffer): void {
    this.#handler?.onData(chunk);
  }

  onEnd(trailers: string[]): void {
    if (this.#tunnel) return;
    const handler = this.#handler;
    this.#handler = undefined;
    if (handler !== undefined && this.#keepAlive && this.#bodySent && this.#socket.writable) {
      this.idleUntilMs += this.#options.now();
      this.#owner.onIdle(this);
    } else {
      this.#socket.destroy();
    }
    handler?.onEnd(trailers);
  }

  #onData(chunk: Buffer): void {
    if (this.#tunnel) {
      this.#handler?.onData(chunk);
      this.#handler?.onPause();
      return;
    }
    try {
      const rest = this.#parser.push(chunk);
      if (rest !== undefined && this.#tunnel) this.#handler?.onData(rest);
      else if (rest !== undefined) this.#socket.destroy();
    } catch (error) {
      this.#lastError = error instanceof Error ? error.message : String(error);
      this.#socket.destroy();
      return;
    }
    this.#handler?.onPause();
  }

  #onUpstreamEnd(): void {
    if (this.#tunnel) {
      const handler = this.#handler;
      this.#handler = undefined;
      handler?.onEnd([]);
      return;
    }
    if (!this.#parser.finish()) this.#lastError = 'the connection was closed in the middle of an answer';
  }

  #onClose(): void {
    const before = this.#state;
    this.#state = 'closed';
    clearTimeout(this.#awaitsContinue);
    const handler = this.#handler;
    this.#handler = undefined;
    this.#onFree?.();
    if (handler === undefined) return;
    const stale = this.#reused && !this.#parser.hasBegun;
    if (stale) this.#owner.onStale();
    let kind: UpstreamFailure['kind'] = 'broken';
    if (before === 'connecting') kind = 'connect';
    else if (stale) kind = 'stale';
    handler.onFailure({ kind, reason: this.#lastError });
  }
}

function uncork(socket: Socket): void {
  socket.uncork();
}

function ready(handler: UpstreamHandler, connection: Http1Connection): void {
  if (connection.carries(handler)) handler.onReady();
}

function headOf(request: OutgoingRequest): string {
  let framing = '';
  if (request.bodyLength === undefined) framing = 'transfer-encoding: chunked\r\n';
  else if (request.bodyLength > 0 || needsLength(request.method)) {
    framing = `content-length: ${request.bodyLength}\r\n`;
  }
  if (request.expectContinue) framing += 'expect: 100-continue\r\n';
  if (request.upgrade !== undefined) framing += `connection: upgrade\r\nupgrade: ${request.upgrade}\r\n`;
  return `${request.method} ${request.path} HTTP/1.1\r\nhost: ${request.authority}\r\n${fieldsOf(request.headers)}${framing}\r\n`;
}

/** Methods that mean a body: without one, the length 0 is said (RFC 9110 §8.6). */
function needsLength(method: string): boolean {
  return method === 'POST' || method === 'PUT' || method === 'PATCH';
}

function fieldsOf(fields: readonly string[]): string {
  let text = '';
  for (let index = 0; index < fields.length; index += 2) text += `${fields[index]}: ${fields[index + 1]}\r\n`;
  return text;
}

/** A second less than the upstream says, so that we close first. */
function idleMsOf(headers: readonly string[], defaultMs: number): number {
  for (let index = 0; index < headers.length; index += 2) {
    const name = headers[index] ?? '';
    if (name.length !== 10 || name.toLowerCase() !== 'keep-alive') continue;
    const seconds = /timeout=(\d{1,6})/.exec(headers[index + 1] ?? '')?.[1];
    if (seconds !== undefined) return Math.min(LONGEST_IDLE_MS, Math.max(0, Number(seconds) * 1000 - 1000));
  }
  return defaultMs;
}
