/** Shorter texts are no secrets, and hiding each of their occurrences would garble messages. */
const MIN_LENGTH = 6;

/**
 * What must not come out again: a store, or whoever answers in its place, may quote a request's headers or URL in
 * its error text, and that text goes into messages, Events and a service's status.
 */
export class Secrets {
  private readonly values = new Set<string>();

  /** A text that is secret; also as it looks percent-encoded. */
  add(value: string | undefined): void {
    if (value === undefined || value.length < MIN_LENGTH) return;
    this.values.add(value);
    this.values.add(encodeURIComponent(value));
  }

  hide(text: string): string {
    // The longest first: one secret may be a part of another.
    const longestFirst = [...this.values].sort((left, right) => right.length - left.length);
    return longestFirst.reduce((shown, value) => shown.replaceAll(value, '***'), text);
  }

  /** The same error, its own text and that of its causes without secrets. */
  hideIn(error: unknown): unknown {
    const seen = new Set<unknown>();
    for (let current = error; current instanceof Error && !seen.has(current); current = current.cause) {
      seen.add(current);
      const hidden = this.hide(current.message);
      if (hidden === current.message) continue;
      current.stack = this.hide(current.stack ?? '');
      current.message = hidden;
    }
    return error;
  }
}
