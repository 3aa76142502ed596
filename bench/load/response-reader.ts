import { ChunkedBody } from './chunked-body.ts';

/** One answer as far as a load generator cares. */
export interface ResponseEnd {
  readonly status: number;
  readonly bodyBytes: number;
  /** The server closes the connection after it. */
  readonly closes: boolean;
  /** Value of `pilotlight-error`, where there is one. */
  readonly errorCode: string | undefined;
}

/** Longest head that is waited for; ours have some 300 bytes. */
const MAX_HEAD_BYTES = 16 * 1024;
const HEAD_END = '\r\n\r\n';

/**
 * Reads the answers of one HTTP/1.1 connection without pipelining, and counts the body's bytes instead of
 * keeping them. A body has a Content-Length or comes in chunks, as KServe's server sends binary tensors.
 */
export class ResponseReader {
  #head = '';
  #current: ResponseEnd | undefined;
  #leftBytes = 0;
  #chunked: ChunkedBody | undefined;

  /**
   * Takes in what the socket gave.
   * @returns the answer once it is complete, else undefined.
   * @throws Error for what is not an answer whose end can be known, or for bytes behind its end.
   */
  push(chunk: Buffer): ResponseEnd | undefined {
    if (this.#chunked !== undefined) return this.#pushChunked(this.#chunked, chunk.toString('latin1'));
    let inBody = chunk.length;
    if (this.#current === undefined) {
      this.#head += chunk.toString('latin1');
      const end = this.#head.indexOf(HEAD_END);
      if (end === -1) {
        if (this.#head.length > MAX_HEAD_BYTES) throw new Error('the head of the answer has no end');
        return undefined;
      }
      const head = this.#head.slice(0, end + 2);
      const behind = this.#head.slice(end + HEAD_END.length);
      inBody = behind.length;
      this.#head = '';
      this.#current = parseHead(head);
      if (isChunked(head)) {
        this.#chunked = new ChunkedBody();
        return this.#pushChunked(this.#chunked, behind);
      }
      this.#leftBytes = this.#current.bodyBytes;
    }
    this.#leftBytes -= inBody;
    if (this.#leftBytes < 0) throw new Error(`${-this.#leftBytes} bytes came behind the end of the answer`);
    if (this.#leftBytes > 0) return undefined;
    const complete = this.#current;
    this.#current = undefined;
    return complete;
  }

  #pushChunked(body: ChunkedBody, text: string): ResponseEnd | undefined {
    if (!body.push(text) || this.#current === undefined) return undefined;
    const complete = { ...this.#current, bodyBytes: body.bodyBytes };
    this.#current = undefined;
    this.#chunked = undefined;
    return complete;
  }
}

const isChunked = (head: string): boolean => /^transfer-encoding: *chunked\r/im.test(head);

function parseHead(head: string): ResponseEnd {
  const status = Number(/^HTTP\/1\.1 (\d{3})[ \r]/.exec(head)?.[1]);
  if (!(status >= 200)) throw new Error(`not the head of an answer: ${head.slice(0, 80)}`);
  const length = /^content-length: *(\d+)\r/im.exec(head)?.[1] ?? (isChunked(head) ? '0' : undefined);
  if (length === undefined) throw new Error('the answer has no Content-Length');
  return {
    status,
    bodyBytes: Number(length),
    closes: /^connection: *close\r/im.test(head),
    errorCode: /^pilotlight-error: *([^\r]+)\r/im.exec(head)?.[1],
  };
}
