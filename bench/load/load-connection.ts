import { connect, type Socket } from 'node:net';
import type { Target } from './messages.ts';
import { ResponseReader } from './response-reader.ts';

export interface ConnectionEvents {
  /** An answer with 200 came. */
  succeeded: (latencyMs: number) => void;
  /** Anything else, by a short text that is the same for the same kind of failure. */
  failed: (what: string) => void;
  /** Free for the next request. Called after `succeeded` or `failed`. */
  idle: (connection: LoadConnection) => void;
}

/**
 * One keep-alive connection that sends one request at a time. It opens when it is first wanted and opens
 * again after the server closed it. A connection that ends between two answers is no failure; one that ends
 * while an answer is due is, even where a client library would try again.
 */
export class LoadConnection {
  readonly #target: Target;
  readonly #events: ConnectionEvents;
  #socket: Socket | undefined;
  #reader = new ResponseReader();
  /** When the request that is under way was sent. */
  #sentMs: number | undefined;

  constructor(target: Target, events: ConnectionEvents) {
    this.#target = target;
    this.#events = events;
  }

  /** Sends the request. The latency counts from `sinceMs`, by default from now. */
  send(sinceMs: number = performance.now()): void {
    this.#sentMs = sinceMs;
    this.#socket ??= this.#open();
    this.#socket.write(this.#target.request);
  }

  close(): void {
    this.#socket?.destroy();
    this.#socket = undefined;
  }

  #open(): Socket {
    const { host, port } = this.#target;
    const socket = connect({ host, port, noDelay: true });
    this.#reader = new ResponseReader();
    socket.on('data', (chunk: Buffer) => this.#onData(socket, chunk));
    socket.on('error', (error: NodeJS.ErrnoException) => this.#lose(socket, error.code ?? error.message));
    socket.on('close', () => this.#lose(socket, 'closed without an answer'));
    return socket;
  }

  #onData(socket: Socket, chunk: Buffer): void {
    if (socket !== this.#socket) return;
    try {
      const response = this.#reader.push(chunk);
      if (response === undefined) return;
      if (this.#sentMs === undefined) throw new Error('an answer came that nobody asked for');
      const latencyMs = performance.now() - this.#sentMs;
      this.#sentMs = undefined;
      if (response.closes) this.close();
      if (response.status === 200) this.#events.succeeded(latencyMs);
      else this.#events.failed(`${response.status} ${response.errorCode ?? ''}`.trim());
      this.#events.idle(this);
    } catch (error) {
      this.#lose(socket, error instanceof Error ? error.message : String(error));
    }
  }

  #lose(socket: Socket, why: string): void {
    if (socket !== this.#socket) return;
    this.close();
    if (this.#sentMs === undefined) return;
    this.#sentMs = undefined;
    this.#events.failed(why);
    this.#events.idle(this);
  }
}
