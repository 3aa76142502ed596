import {
  constants,
  type IncomingHttpHeaders,
  type OutgoingHttpHeaders,
  type ServerHttp2Stream,
} from 'node:http2';
import { leaveSession } from '../../process/leave-session.ts';
import type { Caller, CallerEvents, CutOff } from './caller.ts';
import { grpcMessage, grpcStatusOf } from './refuse.ts';
import { withoutRepeats } from './single-values.ts';

const END_STREAM = constants.NGHTTP2_FLAG_END_STREAM;

/** An HTTP/2 request, gRPC or not. Its window opens only as the body is read, so an unread one stays small. */
export class Http2Caller implements Caller {
  readonly protocol = 'http2';
  readonly upgrade = undefined;
  readonly method: string;
  readonly path: string;
  readonly host: string;
  readonly headers: readonly string[];
  readonly bodyLength: number | undefined;
  readonly isGrpc: boolean;
  readonly #stream: ServerHttp2Stream;
  #events: CallerEvents | undefined;
  #started = false;
  #head: { status: number; headers: string[] } | undefined;
  #trailers: string[] = [];
  #requestTrailers: string[] = [];
  #over = false;
  #cutOff = false;

  constructor(
    stream: ServerHttp2Stream,
    headers: IncomingHttpHeaders,
    flags: number,
    rawHeaders: readonly string[],
  ) {
    this.#stream = stream;
    this.method = headers[':method'] ?? 'GET';
    this.path = headers[':path'] ?? '/';
    this.host = headers[':authority'] ?? headers.host ?? '';
    this.headers = withoutPseudo(rawHeaders);
    this.isGrpc = headers['content-type']?.startsWith('application/grpc') ?? false;
    const length = headers['content-length'];
    if ((flags & END_STREAM) !== 0) this.bodyLength = 0;
    else if (length !== undefined && /^\d{1,15}$/.test(length)) this.bodyLength = Number(length);
    stream.on('error', () => undefined);
    stream.on('wantTrailers', () => {
      if (!this.#cutOff) sendTrailers(stream, this.#trailers);
    });
  }

  get remoteAddress(): string {
    return this.#stream.session?.socket.remoteAddress ?? '';
  }

  listen(events: CallerEvents): void {
    this.#events = events;
    this.#stream.on('drain', () => events.onClientDrain());
    this.#stream.on('close', () => {
      if (!this.#over) events.onGone();
    });
  }

  holdBack(): void {
    // The stream's window does that: it opens only as the body is read.
  }

  startBody(): void {
    if (this.#started) return;
    this.#started = true;
    const stream = this.#stream;
    stream.on('trailers', (_headers, _flags, raw) => {
      this.#requestTrailers = raw;
    });
    stream.on('data', (chunk: Buffer) => this.#events?.onBody(chunk));
    stream.on('end', () => this.#events?.onBodyEnd(this.#requestTrailers));
  }

  pauseBody(): void {
    this.#stream.pause();
  }

  resumeBody(): void {
    this.#stream.resume();
  }

  respond(status: number, _statusText: string, headers: string[], last: boolean): void {
    this.#head = { status, headers };
    const { session } = this.#stream;
    if (last && session !== undefined) leaveSession(session);
  }

  flush(): void {
    this.#sendHead(false);
  }

  write(chunk: Buffer): void {
    this.#sendHead(false);
    if (this.#stream.writable) this.#stream.write(chunk);
  }

  get needsDrain(): boolean {
    return this.#stream.writableNeedDrain;
  }

  end(trailers: string[]): void {
    this.#over = true;
    this.#trailers = trailers;
    if (this.#head !== undefined && trailers.length === 0) {
      this.#sendHead(true);
    } else {
      this.#sendHead(false);
      if (this.#stream.writable) this.#stream.end();
    }
    this.#dropRest();
  }

  abort(cutOff: CutOff): void {
    this.#over = true;
    const { error, resetCode } = cutOff;
    const stream = this.#stream;
    if (this.isGrpc && resetCode === undefined && stream.headersSent && stream.writable) {
      // A gRPC caller reads why in the trailers, even in the middle of an answer.
      this.#trailers = [
        'grpc-status',
        String(grpcStatusOf(error.code)),
        'grpc-message',
        grpcMessage(error.message),
      ];
      stream.end();
      return;
    }
    this.#cutOff = true;
    stream.close(resetCode ?? constants.NGHTTP2_INTERNAL_ERROR);
  }

  /**
   * The end of the stream is always sent by hand (`waitForTrailers`): `close` ends the writable side before it
   * resets, and a reset that follows a proper end would make half an answer look whole.
   */
  #sendHead(last: boolean): void {
    const head = this.#head;
    const stream = this.#stream;
    if (head === undefined || stream.destroyed || stream.closed) return;
    this.#head = undefined;
    const fields = [':status', String(head.status)];
    const headers = withoutRepeats(head.headers);
    for (let index = 0; index < headers.length; index += 2) {
      fields.push((headers[index] ?? '').toLowerCase(), headers[index + 1] ?? '');
    }
    try {
      stream.respond(fields, last ? { endStream: true } : { waitForTrailers: true });
    } catch {
      // An upstream's head that HTTP/2 can't carry: its caller is told, and nobody else notices.
      this.#cutOff = true;
      stream.close(constants.NGHTTP2_INTERNAL_ERROR);
    }
  }

  /** The answer is whole: a client that still sends its body is told to stop (RFC 9113 §8.1). */
  #dropRest(): void {
    const stream = this.#stream;
    if (stream.readableEnded || this.bodyLength === 0) return;
    // A turn later, once what was written has been handed over: a reset in the same turn overtakes the head.
    const stop = (): void => void setImmediate(() => stream.close(constants.NGHTTP2_NO_ERROR));
    if (stream.writableFinished) stop();
    else stream.once('finish', stop);
  }
}

export function withoutPseudo(raw: readonly string[]): string[] {
  const fields: string[] = [];
  for (let index = 0; index < raw.length; index += 2) {
    const name = raw[index] ?? '';
    if (!name.startsWith(':')) fields.push(name, raw[index + 1] ?? '');
  }
  return fields;
}

/** Sends trailers; a stream whose trailers can't be sent ends as one that was cut off. */
export function sendTrailers(
  stream: Pick<ServerHttp2Stream, 'sendTrailers' | 'close'>,
  fields: readonly string[],
): void {
  try {
    stream.sendTrailers(toObject(withoutRepeats(fields)));
  } catch {
    stream.close(constants.NGHTTP2_INTERNAL_ERROR);
  }
}

/** Fields as the object that trailers are sent by; repeated ones become lists. */
function toObject(fields: readonly string[]): OutgoingHttpHeaders {
  const object: Record<string, string | string[]> = {};
  for (let index = 0; index < fields.length; index += 2) {
    const name = (fields[index] ?? '').toLowerCase();
    const value = fields[index + 1] ?? '';
    const before = object[name];
    object[name] = before === undefined ? value : [before, value].flat();
  }
  return object;
}
