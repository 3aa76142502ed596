import { type IncomingMessage, STATUS_CODES } from 'node:http';
import type { Socket } from 'node:net';
import type { Caller, CallerEvents } from './caller.ts';
import { splitTarget } from './http1-caller.ts';

/**
 * A request to switch protocols (WebSocket). Its connection is ours from the head on: after 101 both halves
 * flow as they are; any other answer is written out and ends the connection.
 */
export class UpgradeCaller implements Caller {
  readonly protocol = 'http1';
  readonly isGrpc = false;
  readonly bodyLength = 0;
  readonly method: string;
  readonly path: string;
  readonly host: string;
  readonly upgrade: string;
  readonly #request: IncomingMessage;
  readonly #socket: Socket;
  #early: Buffer;
  #events: CallerEvents | undefined;
  #over = false;
  #tunnel = false;
  #chunked = false;

  constructor(request: IncomingMessage, socket: Socket, head: Buffer) {
    this.#request = request;
    this.#socket = socket;
    this.#early = head;
    this.method = request.method ?? 'GET';
    this.upgrade = request.headers.upgrade ?? '';
    const { host, path } = splitTarget(request.url ?? '/', request.headers.host ?? '');
    this.host = host;
    this.path = path;
    socket.on('error', () => undefined);
  }

  get headers(): readonly string[] {
    return this.#request.rawHeaders;
  }

  get remoteAddress(): string {
    return this.#socket.remoteAddress ?? '';
  }

  listen(events: CallerEvents): void {
    this.#events = events;
    this.#socket.on('drain', () => events.onClientDrain());
    this.#socket.on('end', () => {
      if (this.#tunnel) events.onBodyEnd([]);
      else this.#socket.destroy();
    });
    this.#socket.on('close', () => {
      if (!this.#over) events.onGone();
    });
    this.#socket.on('data', (chunk: Buffer) => this.#onData(chunk));
    this.#socket.resume();
  }

  holdBack(): void {
    // There is no body before 101.
  }

  startBody(): void {
    if (this.#early.length > 0) this.#events?.onBody(this.#early);
    this.#early = Buffer.alloc(0);
    this.#socket.resume();
  }

  pauseBody(): void {
    this.#socket.pause();
  }

  resumeBody(): void {
    this.#socket.resume();
  }

  respond(status: number, statusText: string, headers: string[]): void {
    this.#tunnel = status === 101;
    let text = `HTTP/1.1 ${status} ${statusText === '' ? (STATUS_CODES[status] ?? '') : statusText}\r\n`;
    let hasLength = false;
    for (let index = 0; index < headers.length; index += 2) {
      text += `${headers[index]}: ${headers[index + 1]}\r\n`;
      hasLength ||= headers[index]?.toLowerCase() === 'content-length';
    }
    if (this.#tunnel) text += `connection: upgrade\r\nupgrade: ${this.upgrade}\r\n`;
    else {
      this.#chunked = !hasLength && status >= 200 && status !== 204 && status !== 304;
      text += this.#chunked ? 'connection: close\r\ntransfer-encoding: chunked\r\n' : 'connection: close\r\n';
    }
    this.#socket.write(`${text}\r\n`, 'latin1');
  }

  flush(): void {
    // Nothing is held back.
  }

  write(chunk: Buffer): void {
    if (!this.#chunked) this.#socket.write(chunk);
    else if (chunk.length > 0) {
      this.#socket.write(`${chunk.length.toString(16)}\r\n`, 'latin1');
      this.#socket.write(chunk);
      this.#socket.write('\r\n', 'latin1');
    }
  }

  get needsDrain(): boolean {
    return this.#socket.writableNeedDrain;
  }

  end(): void {
    this.#over = true;
    if (this.#chunked) this.#socket.write('0\r\n\r\n', 'latin1');
    this.#socket.end();
  }

  abort(): void {
    this.#socket.destroy();
  }

  /** Before 101 a client has nothing to say; what it says early is kept, but no more than a bit. */
  #onData(chunk: Buffer): void {
    if (this.#tunnel) {
      this.#events?.onBody(chunk);
      return;
    }
    this.#early = Buffer.concat([this.#early, chunk]);
    if (this.#early.length > 64 * 1024) this.#socket.destroy();
  }
}
