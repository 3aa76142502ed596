/**
 * Framing of the streamed messages (routes, specialise events): one JSON value a line, UTF-8, `\n` at the end.
 */

/** Longest accepted line; a routes snapshot of 10,000 services is about 6 MB. */
const MAX_LINE_BYTES = 64 * 1024 * 1024;

/**
 * Cuts a byte stream into parsed JSON values. Feed it chunks as they come; each call returns the values that
 * became whole.
 *
 * @example
 * const lines = new JsonLines();
 * lines.push(Buffer.from('{"a":1}\n{"b"')); // [{a: 1}]
 * lines.push(Buffer.from(':2}\n'));          // [{b: 2}]
 */
export class JsonLines {
  #pending: Buffer[] = [];
  #pendingBytes = 0;

  /** @throws SyntaxError for a line that isn't JSON, RangeError for one over 64 MiB. */
  push(chunk: Buffer): unknown[] {
    const values: unknown[] = [];
    let start = 0;
    for (let end = chunk.indexOf(10, start); end !== -1; end = chunk.indexOf(10, start)) {
      this.#pending.push(chunk.subarray(start, end));
      const line = Buffer.concat(this.#pending).toString('utf8').trim();
      this.#pending = [];
      this.#pendingBytes = 0;
      if (line !== '') values.push(JSON.parse(line));
      start = end + 1;
    }
    if (start < chunk.length) {
      const rest = chunk.subarray(start);
      this.#pendingBytes += rest.length;
      if (this.#pendingBytes > MAX_LINE_BYTES) throw new RangeError('a streamed line is longer than 64 MiB');
      this.#pending.push(rest);
    }
    return values;
  }
}

/** One message as a line. */
export function toJsonLine(value: unknown): string {
  return `${JSON.stringify(value)}\n`;
}
