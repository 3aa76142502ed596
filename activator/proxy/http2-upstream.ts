import { type ClientHttp2Session, type ClientHttp2Stream, connect, constants } from 'node:http2';
import { createConnection } from 'node:net';
import type { Http1UpstreamOptions } from './http1-upstream.ts';
import { sendTrailers, withoutPseudo } from './http2-caller.ts';
import type {
  OutgoingRequest,
  Upstream,
  UpstreamFailure,
  UpstreamHandler,
  UpstreamStream,
} from './upstream.ts';

/** Of an answer so much may lie unread for a slow client; of all answers on a connection together the second. */
const STREAM_WINDOW_BYTES = 256 * 1024;
const SESSION_WINDOW_BYTES = 16 * 1024 * 1024;
/** Streams on one connection, where the upstream allows more. */
const MAX_STREAMS = 256;
const END_STREAM = constants.NGHTTP2_FLAG_END_STREAM;

/** HTTP/2 cleartext connections to one endpoint: as many as the streams at once need. */
export class Http2Upstream implements Upstream {
  readonly #address: string;
  readonly #options: Http1UpstreamOptions;
  readonly #sessions = new Set<Session>();

  constructor(address: string, options: Http1UpstreamOptions) {
    this.#address = address;
    this.#options = options;
  }

  open(request: OutgoingRequest, handler: UpstreamHandler): UpstreamStream {
    for (const session of this.#sessions) {
      if (session.hasRoom) return new Http2UpstreamStream(session, request, handler);
    }
    const session = new Session(this.#address, this.#options.connectTimeoutMs);
    this.#sessions.add(session);
    session.http2.once('close', () => this.#sessions.delete(session));
    return new Http2UpstreamStream(session, request, handler);
  }

  close(): void {
    for (const session of this.#sessions) session.http2.close();
  }
}

class Session {
  readonly http2: ClientHttp2Session;
  active = 0;
  connected = false;
  /** The other side has said something in HTTP/2. */
  spoke = false;
  /** Streams beyond this one were not looked at. */
  lastStreamId = Infinity;
  lastError = 'the connection was closed';

  constructor(address: string, connectTimeoutMs: number) {
    const colon = address.lastIndexOf(':');
    const host = address.slice(0, colon).replace(/^\[(.*)\]$/, '$1');
    const socket = createConnection({ host, port: Number(address.slice(colon + 1)), noDelay: true });
    this.http2 = connect(`http://${address}`, {
      createConnection: () => socket,
      settings: { enablePush: false, initialWindowSize: STREAM_WINDOW_BYTES },
    });
    const timer = setTimeout(() => {
      this.lastError = `no connection within ${connectTimeoutMs} ms`;
      this.http2.destroy();
    }, connectTimeoutMs);
    this.http2.on('connect', () => {
      clearTimeout(timer);
      this.connected = true;
      this.http2.setLocalWindowSize(SESSION_WINDOW_BYTES);
    });
    this.http2.on('remoteSettings', () => {
      this.spoke = true;
    });
    this.http2.on('goaway', (_code, lastStreamId) => {
      this.lastStreamId = lastStreamId;
    });
    this.http2.on('error', (error: NodeJS.ErrnoException) => {
      this.lastError = error.code ?? error.message;
    });
    this.http2.on('close', () => clearTimeout(timer));
  }

  get hasRoom(): boolean {
    const { closed, destroyed, remoteSettings } = this.http2;
    if (closed || destroyed || this.lastStreamId !== Infinity) return false;
    return this.active < Math.min(MAX_STREAMS, remoteSettings?.maxConcurrentStreams ?? MAX_STREAMS);
  }
}

/** One request on a session. */
class Http2UpstreamStream implements UpstreamStream {
  readonly #session: Session;
  readonly #stream: ClientHttp2Stream;
  #handler: UpstreamHandler | undefined;
  #trailers: string[] = [];
  #requestTrailers: string[] = [];
  #headed = false;
  #bodySent = false;

  constructor(session: Session, request: OutgoingRequest, handler: UpstreamHandler) {
    this.#session = session;
    this.#handler = handler;
    const fields = [':method', request.method, ':scheme', 'http', ':path', request.path];
    if (request.authority !== '') fields.push(':authority', request.authority);
    for (let index = 0; index < request.headers.length; index += 2) {
      fields.push((request.headers[index] ?? '').toLowerCase(), request.headers[index + 1] ?? '');
    }
    if (request.bodyLength !== undefined && request.bodyLength > 0) {
      fields.push('content-length', String(request.bodyLength));
    }
    const stream = session.http2.request(fields, {
      endStream: request.bodyLength === 0,
      // As at the other side: a cancelled body must not look whole.
      waitForTrailers: request.bodyLength !== 0,
    });
    this.#stream = stream;
    session.active++;
    stream.on('response', (headers, flags, raw) => this.#onResponse(headers[':status'] ?? 502, flags, raw));
    stream.on('trailers', (_headers, _flags, raw) => {
      this.#trailers = raw;
    });
    stream.on('data', (chunk: Buffer) => {
      this.#handler?.onData(chunk);
      this.#handler?.onPause();
    });
    stream.on('end', () => this.#onEnd());
    stream.on('drain', () => this.#handler?.onUpstreamDrain());
    stream.on('wantTrailers', () => {
      if (this.#bodySent) sendTrailers(stream, this.#requestTrailers);
    });
    stream.on('error', (error: NodeJS.ErrnoException) => {
      session.lastError = error.code ?? error.message;
    });
    stream.on('close', () => this.#onClose());
    if (session.connected) process.nextTick(() => this.#handler?.onReady());
    else session.http2.once('connect', () => this.#handler?.onReady());
  }

  write(chunk: Buffer): boolean {
    return this.#stream.writable ? this.#stream.write(chunk) : true;
  }

  end(trailers: string[]): void {
    this.#requestTrailers = trailers;
    this.#bodySent = true;
    if (this.#stream.writable) this.#stream.end();
  }

  pause(): void {
    this.#stream.pause();
  }

  resume(): void {
    this.#stream.resume();
  }

  abandon(onFree: () => void): void {
    this.#handler = undefined;
    this.#stream.close(constants.NGHTTP2_CANCEL);
    onFree();
  }

  #onResponse(status: number, flags: number, raw: readonly string[]): void {
    this.#headed = true;
    this.#handler?.onHead(status, '', withoutPseudo(raw));
    if ((flags & END_STREAM) !== 0) this.#onEnd();
    else this.#handler?.onPause();
  }

  #onEnd(): void {
    // A reset ends the readable side as well; whether it was a proper end is told by `close`.
    if (!this.#headed || this.#stream.rstCode !== constants.NGHTTP2_NO_ERROR || this.#stream.aborted) return;
    const handler = this.#handler;
    this.#handler = undefined;
    if (!this.#stream.writableEnded) this.#stream.close(constants.NGHTTP2_NO_ERROR);
    handler?.onEnd(this.#trailers);
  }

  #onClose(): void {
    const session = this.#session;
    session.active--;
    const handler = this.#handler;
    this.#handler = undefined;
    if (handler === undefined) return;
    const { rstCode, id = 0 } = this.#stream;
    let kind: UpstreamFailure['kind'] = 'broken';
    if (!session.connected) kind = 'connect';
    else if (!session.spoke) kind = 'protocol';
    else if (rstCode === constants.NGHTTP2_REFUSED_STREAM || id > session.lastStreamId) kind = 'refused';
    const wasReset = session.spoke && !session.http2.destroyed && rstCode !== constants.NGHTTP2_NO_ERROR;
    handler.onFailure({
      kind,
      reason: session.lastError,
      ...(wasReset ? { resetCode: rstCode } : {}),
    });
  }
}
