/** Longest accepted head of an answer. */
const MAX_HEAD_BYTES = 64 * 1024;
/** Longest accepted line of a chunk size with its extensions. */
const MAX_CHUNK_LINE_BYTES = 4 * 1024;
const HEAD_END = Buffer.from('\r\n\r\n');
const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;

/** The head of an answer. Headers are names and values in turn, as they came. */
export interface ResponseHead {
  status: number;
  statusText: string;
  headers: string[];
  /** Whether the connection may carry another request once this answer is over. */
  keepAlive: boolean;
}

/** What the parser finds, in order: heads of 1xx, one head, data, one end. */
export interface ResponseEvents {
  /** 100, 102, 103: the real answer is still to come. */
  onInformation(status: number): void;
  onHead(head: ResponseHead): void;
  onData(chunk: Buffer): void;
  onEnd(trailers: string[]): void;
}

/** The upstream broke the rules of HTTP/1.1; the connection is worth nothing any more. */
export class ResponseFramingError extends Error {
  override readonly name = 'ResponseFramingError';
}

type State =
  | 'head'
  | 'length'
  | 'chunk-size'
  | 'chunk-data'
  | 'chunk-end'
  | 'trailers'
  | 'until-close'
  | 'idle';

/**
 * An incremental parser of HTTP/1.1 answers (RFC 9112), strict in all that tells where an answer ends, since a
 * proxy that disagrees with its upstream about that hands one client's answer to another. Body bytes are
 * passed on as slices of what came, without a copy.
 */
export class Http1ResponseParser {
  readonly #events: ResponseEvents;
  #state: State = 'idle';
  #kept: Buffer | undefined;
  #remaining = 0;
  #bodyless = false;
  #upgrading = false;

  constructor(events: ResponseEvents) {
    this.#events = events;
  }

  /** True between an answer's end and the next `expect`. */
  get isIdle(): boolean {
    return this.#state === 'idle';
  }

  /** True once a byte of the expected answer has come. */
  get hasBegun(): boolean {
    return this.#state !== 'head' || this.#kept !== undefined;
  }

  /** Gets ready for the answer to a request of `method`; `upgrading` makes 101 a final answer. */
  expect(method: string, upgrading: boolean): void {
    this.#state = 'head';
    this.#bodyless = method === 'HEAD';
    this.#upgrading = upgrading;
    this.#kept = undefined;
  }

  /**
   * Takes what came.
   *
   * @returns what lies behind the answer's end: the first bytes of a tunnel after 101, else nothing is allowed there.
   * @throws ResponseFramingError
   */
  push(chunk: Buffer): Buffer | undefined {
    let rest: Buffer | undefined = chunk;
    if (this.#kept !== undefined) {
      rest = Buffer.concat([this.#kept, chunk]);
      this.#kept = undefined;
    }
    while (rest !== undefined && rest.length > 0) {
      if (this.#state === 'idle') return rest;
      rest = this.#step(rest);
    }
    return undefined;
  }

  /**
   * The upstream closed its side.
   *
   * @returns true when that is a proper end: of an answer that lasts until the connection closes, or between two.
   */
  finish(): boolean {
    if (this.#state === 'idle') return true;
    if (this.#state !== 'until-close') return false;
    this.#end([]);
    return true;
  }

  /** One step of the machine; returns what is left of `bytes`, `undefined` when more is needed. */
  #step(bytes: Buffer): Buffer | undefined {
    switch (this.#state) {
      case 'head':
        return this.#stepHead(bytes);
      case 'length':
      case 'chunk-data':
        return this.#stepData(bytes);
      case 'chunk-size':
        return this.#stepChunkSize(bytes);
      case 'chunk-end':
        if (bytes.length < 2) return this.#keep(bytes, 2);
        if (bytes[0] !== 13 || bytes[1] !== 10)
          throw new ResponseFramingError('a chunk is longer than it said');
        this.#state = 'chunk-size';
        return bytes.subarray(2);
      case 'trailers':
        return this.#stepTrailers(bytes);
      case 'until-close':
        this.#events.onData(bytes);
        return undefined;
      case 'idle':
        return bytes;
    }
  }

  #keep(bytes: Buffer, limit: number): undefined {
    if (bytes.length > limit) throw new ResponseFramingError(`a line or head is longer than ${limit} bytes`);
    this.#kept = bytes;
    return undefined;
  }

  #stepData(bytes: Buffer): Buffer | undefined {
    const whole = bytes.length >= this.#remaining;
    const part = whole ? bytes.subarray(0, this.#remaining) : bytes;
    this.#remaining -= part.length;
    const chunked = this.#state === 'chunk-data';
    if (whole && chunked) this.#state = 'chunk-end';
    this.#events.onData(part);
    if (whole && !chunked) this.#end([]);
    return whole ? bytes.subarray(part.length) : undefined;
  }

  #stepChunkSize(bytes: Buffer): Buffer | undefined {
    const lineEnd = bytes.indexOf('\r\n');
    if (lineEnd === -1) return this.#keep(bytes, MAX_CHUNK_LINE_BYTES);
    const size = /^([0-9a-fA-F]{1,12})[ \t]*(;.*)?$/.exec(bytes.toString('latin1', 0, lineEnd))?.[1];
    if (size === undefined) throw new ResponseFramingError('a chunk size is not a hexadecimal number');
    this.#remaining = Number.parseInt(size, 16);
    this.#state = this.#remaining === 0 ? 'trailers' : 'chunk-data';
    return bytes.subarray(lineEnd + 2);
  }

  #stepTrailers(bytes: Buffer): Buffer | undefined {
    if (bytes.length >= 2 && bytes[0] === 13 && bytes[1] === 10) {
      this.#end([]);
      return bytes.subarray(2);
    }
    const end = bytes.indexOf(HEAD_END);
    if (end === -1) return this.#keep(bytes, MAX_HEAD_BYTES);
    this.#end(parseFields(bytes.toString('latin1', 0, end).split('\r\n')));
    return bytes.subarray(end + 4);
  }

  #stepHead(bytes: Buffer): Buffer | undefined {
    const end = bytes.indexOf(HEAD_END);
    if (end === -1) return this.#keep(bytes, MAX_HEAD_BYTES);
    const lines = bytes.toString('latin1', 0, end).split('\r\n');
    const statusLine = /^HTTP\/1\.([01]) (\d{3})(?: (.*))?$/.exec(lines.shift() ?? '');
    if (statusLine === null)
      throw new ResponseFramingError('the answer does not begin with an HTTP/1 status line');
    const status = Number(statusLine[2]);
    if (status < 100 || status > 599) throw new ResponseFramingError(`${status} is no status of HTTP`);
    const statusText = statusLine[3] ?? '';
    if (!FIELD_TEXT.test(statusText))
      throw new ResponseFramingError('the status line holds a control character');
    const headers = parseFields(lines);
    const rest = bytes.subarray(end + 4);
    if (status < 200 && !(status === 101 && this.#upgrading)) {
      if (status === 101) throw new ResponseFramingError('the upstream switched protocols unasked');
      this.#events.onInformation(status);
      return rest;
    }
    const framing = framingOf(headers);
    const bodyless = this.#bodyless || status === 204 || status === 304 || status === 101;
    const untilClose = !bodyless && framing.length === undefined && !framing.chunked;
    const keepAlive = !untilClose && !framing.close && (statusLine[1] === '1' || framing.keepAlive);
    if (bodyless || framing.length === 0) this.#state = 'idle';
    else if (framing.chunked) this.#state = 'chunk-size';
    else if (framing.length !== undefined) this.#state = 'length';
    else this.#state = 'until-close';
    this.#remaining = framing.length ?? 0;
    this.#events.onHead({ status, statusText, headers, keepAlive });
    if (bodyless || framing.length === 0) this.#end([]);
    return rest;
  }

  #end(trailers: string[]): void {
    this.#state = 'idle';
    this.#events.onEnd(trailers);
  }
}

/** Text of a field's value (RFC 9110 §5.5): visible characters, blanks, and what is beyond ASCII. */
const FIELD_TEXT = /^[\t\x20-\x7e\x80-\xff]*$/;

/** Names and values in turn; no folded lines, no blank before the colon, no control characters. */
function parseFields(lines: readonly string[]): string[] {
  const fields: string[] = [];
  for (const line of lines) {
    const colon = line.indexOf(':');
    const name = line.slice(0, colon);
    if (colon <= 0 || !TOKEN.test(name))
      throw new ResponseFramingError('a header line of the answer is malformed');
    const value = line.slice(colon + 1).trim();
    if (!FIELD_TEXT.test(value)) throw new ResponseFramingError(`header ${name} holds a control character`);
    fields.push(name, value);
  }
  return fields;
}

interface Framing {
  length: number | undefined;
  chunked: boolean;
  close: boolean;
  keepAlive: boolean;
}

/** RFC 9112 §6.3, without the leniency: two lengths, or a length beside chunks, are an error and no guess. */
function framingOf(headers: readonly string[]): Framing {
  const framing: Framing = { length: undefined, chunked: false, close: false, keepAlive: false };
  for (let index = 0; index < headers.length; index += 2) {
    const name = headers[index] ?? '';
    // Lengths of the three names: cheaper than lower case for each.
    if (name.length !== 14 && name.length !== 17 && name.length !== 10) continue;
    const value = headers[index + 1] ?? '';
    const lower = name.toLowerCase();
    if (lower === 'content-length') {
      if (!/^\d{1,15}$/.test(value)) throw new ResponseFramingError('Content-Length is not a number');
      const length = Number(value);
      if (framing.length !== undefined && framing.length !== length) {
        throw new ResponseFramingError('the answer has two Content-Length headers');
      }
      framing.length = length;
    } else if (lower === 'transfer-encoding') {
      if (value.toLowerCase() !== 'chunked' || framing.chunked) {
        throw new ResponseFramingError('the answer has a Transfer-Encoding other than "chunked"');
      }
      framing.chunked = true;
    } else if (lower === 'connection') {
      const options = value.toLowerCase();
      if (options.includes('close')) framing.close = true;
      if (options.includes('keep-alive')) framing.keepAlive = true;
    }
  }
  if (framing.chunked && framing.length !== undefined) {
    throw new ResponseFramingError('the answer has both Content-Length and Transfer-Encoding');
  }
  return framing;
}
