const LINE_END = '\r\n';
/** Longest line with the length of a piece that is waited for. */
const MAX_LINE_CHARACTERS = 1024;

/**
 * A body of HTTP/1.1's chunked transfer coding: counts its bytes and finds its end. Trailers are refused: nothing that
 * is measured sends any.
 */
export class ChunkedBody {
  /** What has come and isn't a whole piece yet. */
  #pending = '';
  bodyBytes = 0;

  /**
   * Takes in what came behind the head.
   * @returns whether the body is complete.
   * @throws Error for what is not in this coding, or for bytes behind the end.
   */
  push(text: string): boolean {
    this.#pending += text;
    for (;;) {
      const lineEnd = this.#pending.indexOf(LINE_END);
      if (lineEnd === -1) {
        if (this.#pending.length > MAX_LINE_CHARACTERS) throw new Error('the length of a piece has no end');
        return false;
      }
      const [, digits] = /^([\da-f]{1,8})(?:;.*)?$/i.exec(this.#pending.slice(0, lineEnd)) ?? [];
      if (digits === undefined) throw new Error('expected the length of a piece of the body');
      const length = Number.parseInt(digits, 16);
      const pieceEnd = lineEnd + LINE_END.length + length;
      if (this.#pending.length < pieceEnd + LINE_END.length) return false;
      if (!this.#pending.startsWith(LINE_END, pieceEnd)) throw new Error('a piece is longer than it says');
      this.#pending = this.#pending.slice(pieceEnd + LINE_END.length);
      this.bodyBytes += length;
      if (length > 0) continue;
      if (this.#pending !== '') {
        throw new Error(`${this.#pending.length} bytes came behind the end of the answer`);
      }
      return true;
    }
  }
}
