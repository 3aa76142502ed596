import type { IncomingMessage, ServerResponse } from 'node:http';
import { MAX_HELD_BYTES } from '../core/retry.ts';
import type { Caller, CallerEvents } from './caller.ts';

/** A body that nobody read is read to its end after an answer up to this size; beyond, the connection closes. */
const MAX_DUMPED_BYTES = 1024 * 1024;

/** An HTTP/1.1 request of node:http. */
export class Http1Caller implements Caller {
  readonly protocol = 'http1';
  readonly isGrpc = false;
  readonly upgrade = undefined;
  readonly method: string;
  readonly path: string;
  readonly host: string;
  readonly bodyLength: number | undefined;
  readonly #request: IncomingMessage;
  readonly #response: ServerResponse;
  readonly #expectsContinue: boolean;
  #events: CallerEvents | undefined;
  #started = false;
  #pending: Buffer | undefined;
  #flushed = false;

  constructor(request: IncomingMessage, response: ServerResponse, expectsContinue: boolean) {
    this.#request = request;
    this.#response = response;
    this.#expectsContinue = expectsContinue;
    response.on('error', ignore);
    request.on('error', ignore);
    this.method = request.method ?? 'GET';
    const { host, path } = splitTarget(request.url ?? '/', request.headers.host ?? '');
    this.host = host;
    this.path = path;
    if (request.headers['transfer-encoding'] !== undefined) this.bodyLength = undefined;
    else this.bodyLength = Number(request.headers['content-length'] ?? 0);
  }

  get headers(): readonly string[] {
    return this.#request.rawHeaders;
  }

  get remoteAddress(): string {
    return this.#request.socket.remoteAddress ?? '';
  }

  listen(events: CallerEvents): void {
    this.#events = events;
    this.#response.on('close', () => {
      if (!this.#response.writableFinished) events.onGone();
    });
    this.#response.on('drain', () => events.onClientDrain());
  }

  holdBack(): void {
    if (this.bodyLength === undefined || this.bodyLength > MAX_HELD_BYTES) this.#request.socket.pause();
  }

  startBody(): void {
    if (this.#started) {
      this.#request.resume();
      return;
    }
    this.#started = true;
    if (this.#expectsContinue) this.#response.writeContinue();
    this.#request.on('data', (chunk: Buffer) => this.#events?.onBody(chunk));
    this.#request.on('end', () => this.#events?.onBodyEnd(this.#request.rawTrailers));
  }

  pauseBody(): void {
    this.#request.pause();
  }

  resumeBody(): void {
    this.#request.resume();
  }

  respond(status: number, statusText: string, headers: string[], last: boolean): void {
    if (last || !this.#mayReuse()) headers.push('connection', 'close');
    this.#response.writeHead(status, statusText, headers);
  }

  flush(): void {
    if (this.#pending !== undefined) {
      this.#response.write(this.#pending);
      this.#pending = undefined;
    } else if (!this.#flushed) {
      this.#response.flushHeaders();
    }
    this.#flushed = true;
  }

  write(chunk: Buffer): void {
    // The first chunk is held until it is clear whether it is the last one: head and body in one packet.
    if (this.#pending !== undefined) this.#response.write(this.#pending);
    this.#pending = chunk;
  }

  get needsDrain(): boolean {
    return this.#response.writableNeedDrain;
  }

  end(trailers: string[]): void {
    const chunk = this.#pending;
    this.#pending = undefined;
    try {
      if (trailers.length > 0) this.#response.addTrailers(pairsOf(trailers));
    } catch {
      // Trailers that HTTP/1.1 can't carry are left out: the body is whole without them.
    }
    if (chunk === undefined) this.#response.end();
    else this.#response.end(chunk);
  }

  abort(): void {
    this.#response.destroy();
    this.#request.socket.destroy();
  }

  /** A connection whose request body lies unread, or may or may not still come, can't carry another request. */
  #mayReuse(): boolean {
    if (this.#started || this.bodyLength === 0 || this.#request.complete) return true;
    return !this.#expectsContinue && this.bodyLength !== undefined && this.bodyLength <= MAX_DUMPED_BYTES;
  }
}

function ignore(): void {
  // Whatever ends the connection is told by `close`.
}

/** Absolute form (`GET http://host/path`) names its host itself, and wins over the header (RFC 9112 §3.2.2). */
export function splitTarget(target: string, host: string): { host: string; path: string } {
  if (target.startsWith('/') || target === '*') return { host, path: target };
  const absolute = /^https?:\/\/([^/?#]*)([^#]*)/i.exec(target);
  if (absolute === null) return { host, path: `/${target}` };
  const path = absolute[2] ?? '';
  return { host: absolute[1] ?? host, path: path.startsWith('/') ? path : `/${path}` };
}

function pairsOf(fields: readonly string[]): [string, string][] {
  const pairs: [string, string][] = [];
  for (let index = 0; index < fields.length; index += 2) {
    pairs.push([fields[index] ?? '', fields[index + 1] ?? '']);
  }
  return pairs;
}
