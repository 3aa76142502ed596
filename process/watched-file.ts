import { readFileSync } from 'node:fs';

/** Kubernetes writes a mounted secret or token again minutes before the old one ends. */
const CHECK_INTERVAL_MS = 1_000;

export interface WatchedFileOptions {
  /** Monotonic. */
  nowMs?: () => number;
  /** Hears once of each spell in which the file can't be read; the text from before stays in force. */
  onTrouble?: (error: Error) => void;
}

/**
 * The text of a small file that others write again: a token, a certificate. Read again when it is asked for and
 * a second has gone by, so nothing runs while nobody asks. A file that is gone or empty for the moment, because
 * it is being replaced, changes nothing.
 */
export class WatchedFile {
  readonly #path: string;
  readonly #nowMs: () => number;
  readonly #onTrouble: (error: Error) => void;
  #text: string;
  #readAtMs: number;
  #isTroubled = false;

  /** @throws Error when it can't be read, or is empty, to begin with. */
  constructor(
    path: string,
    { nowMs = () => performance.now(), onTrouble = () => undefined }: WatchedFileOptions = {},
  ) {
    this.#path = path;
    this.#nowMs = nowMs;
    this.#onTrouble = onTrouble;
    this.#text = readText(path);
    this.#readAtMs = nowMs();
  }

  /** Without spaces and line ends around it. */
  get text(): string {
    const nowMs = this.#nowMs();
    if (nowMs - this.#readAtMs < CHECK_INTERVAL_MS) return this.#text;
    this.#readAtMs = nowMs;
    try {
      this.#text = readText(this.#path);
      this.#isTroubled = false;
    } catch (error) {
      if (!this.#isTroubled) this.#onTrouble(error as Error);
      this.#isTroubled = true;
    }
    return this.#text;
  }
}

function readText(path: string): string {
  const text = readFileSync(path, 'utf8').trim();
  if (text === '') throw new Error(`expected some text in ${path}, found none`);
  return text;
}
