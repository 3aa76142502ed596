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
 * keeping them. Only answers with a Content-Length are understood: what is measured sends nothing else.
 */
export class ResponseReader {
  #head = '';
  #current: ResponseEnd | undefined;
  #leftBytes = 0;

  /**
   * Takes in what the socket gave.
   * @returns the answer once it is complete, else undefined.
   * @throws Error for what is not an answer with a Content-Length, or for bytes behind its end.
   */
  push(chunk: Buffer): ResponseEnd | undefined {
    let inBody = chunk.length;
    if (this.#current === undefined) {
      this.#head += chunk.toString('latin1');
      const end = this.#head.indexOf(HEAD_END);
      if (end === -1) {
        if (this.#head.length > MAX_HEAD_BYTES) throw new Error('the head of the answer has no end');
        return undefined;
      }
      const head = this.#head.slice(0, end + 2);
      inBody = this.#head.length - end - HEAD_END.length;
      this.#head = '';
      this.#current = parseHead(head);
      this.#leftBytes = this.#current.bodyBytes;
    }
    this.#leftBytes -= inBody;
    if (this.#leftBytes < 0) throw new Error(`${-this.#leftBytes} bytes came behind the end of the answer`);
    if (this.#leftBytes > 0) return undefined;
    const complete = this.#current;
    this.#current = undefined;
    return complete;
  }
}

function parseHead(head: string): ResponseEnd {
  const status = Number(/^HTTP\/1\.1 (\d{3})[ \r]/.exec(head)?.[1]);
  if (!(status >= 200)) throw new Error(`not the head of an answer: ${head.slice(0, 80)}`);
  const length = /^content-length: *(\d+)\r/im.exec(head)?.[1];
  if (length === undefined) throw new Error('the answer has no Content-Length');
  return {
    status,
    bodyBytes: Number(length),
    closes: /^connection: *close\r/im.test(head),
    errorCode: /^pilotlight-error: *([^\r]+)\r/im.exec(head)?.[1],
  };
}
