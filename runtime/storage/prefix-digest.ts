import { createHash, type Hash } from 'node:crypto';
import { type FileHandle, open } from 'node:fs/promises';
import { onCacheDisk } from './cache-disk.ts';

const READ_BYTES = 1024 ** 2;

/**
 * The SHA-256 of a file that is still being written: follows the bytes that are there without a gap from the start,
 * reading them while they are in the page cache, so that the digest is known soon after the last of them. Several
 * ranges arrive at once, so it can't be taken from the network's buffers.
 */
export class PrefixDigest {
  readonly #path: string;
  readonly #signal: AbortSignal;
  readonly #buffer = Buffer.allocUnsafe(READ_BYTES);
  #hash: Hash = createHash('sha256');
  #hashedBytes = 0;
  #prefixBytes = 0;
  /** Grows when the file begins anew: what was read before is of the old one. */
  #beginning = 0;
  #following: Promise<void> | undefined;

  constructor(path: string, signal: AbortSignal) {
    this.#path = path;
    this.#signal = signal;
  }

  /** Bytes of the present file that are in the digest. */
  get hashedBytes(): number {
    return this.#hashedBytes;
  }

  /** So many bytes are there now; fewer than before: the file was begun anew. */
  advance(prefixBytes: number): void {
    if (prefixBytes < this.#prefixBytes) {
      this.#beginning += 1;
      this.#hash = createHash('sha256');
      this.#hashedBytes = 0;
    }
    this.#prefixBytes = prefixBytes;
    this.#follow();
  }

  /**
   * The digest of all bytes that were announced, as lower-case hex. To be called once, when nothing is written any more.
   *
   * @throws PilotlightError when the disk can't be read; the signal's reason when aborted
   */
  async finish(): Promise<string> {
    for (this.#follow(); this.#following !== undefined; this.#follow()) await this.#following;
    return this.#hash.digest('hex');
  }

  #follow(): void {
    if (this.#hashedBytes >= this.#prefixBytes || this.#following !== undefined) return;
    const following = this.#read().finally(() => {
      this.#following = undefined;
    });
    this.#following = following;
    // Whoever asks for the digest hears of it: the next try to read fails likewise.
    following.catch(() => undefined);
  }

  async #read(): Promise<void> {
    await onCacheDisk(this.#path, async () => {
      const file = await open(this.#path, 'r');
      try {
        while (this.#hashedBytes < this.#prefixBytes) await this.#readNext(file);
      } finally {
        await file.close();
      }
    });
  }

  async #readNext(file: FileHandle): Promise<void> {
    this.#signal.throwIfAborted();
    const beginning = this.#beginning;
    const length = Math.min(READ_BYTES, this.#prefixBytes - this.#hashedBytes);
    const { bytesRead } = await file.read(this.#buffer, 0, length, this.#hashedBytes);
    if (beginning !== this.#beginning) return;
    if (bytesRead === 0)
      throw new Error(`the file ended at byte ${this.#hashedBytes}, before what was written to it`);
    this.#hash.update(this.#buffer.subarray(0, bytesRead));
    this.#hashedBytes += bytesRead;
  }
}
