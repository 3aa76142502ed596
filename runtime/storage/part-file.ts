import { type FileHandle, open, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { z } from 'zod';
import { addRange, type ByteRanges, countBytes, missingRanges } from './byte-ranges.ts';
import { makeFolder, onCacheDisk } from './cache-disk.ts';
import { ModelChangedError } from './errors.ts';
import { bootId } from './process-mark.ts';
import type { StoredFile } from './storage-types.ts';

const sidecarSchema = z.object({
  bootId: z.string(),
  sizeBytes: z.number().int().nonnegative(),
  version: z.string(),
  done: z.array(z.object({ first: z.number().int().nonnegative(), last: z.number().int().nonnegative() })),
});

/** At most so much progress is lost when the process is killed. */
const SAVE_AFTER_MS = 250;

/**
 * A file being fetched: preallocated to its full length and written by position, beside a sidecar that says
 * which bytes are there. A hole is never taken for content, since only the sidecar's ranges count, and they are
 * recorded after the write has returned.
 *
 * The sidecar is good for the same size and version only, and for the same boot of the machine: the page cache
 * survives a killed process, not a power cut.
 */
export class PartFile {
  readonly path: string;
  private readonly sidecarPath: string;
  private readonly handle: FileHandle;
  private readonly file: StoredFile;
  private ranges: ByteRanges;
  private saveTimer: NodeJS.Timeout | undefined;
  /** One record is written at a time, or an old one could replace a new one. */
  private saving: Promise<void> = Promise.resolve();

  private constructor(
    place: { path: string; sidecar: string },
    handle: FileHandle,
    file: StoredFile,
    ranges: ByteRanges,
  ) {
    this.path = place.path;
    this.sidecarPath = place.sidecar;
    this.handle = handle;
    this.file = file;
    this.ranges = ranges;
  }

  /** Opens what an earlier try left behind where it is of the same content, else starts afresh. */
  static async open(place: { path: string; sidecar: string }, file: StoredFile): Promise<PartFile> {
    const { path, sidecar } = place;
    return onCacheDisk(path, async () => {
      await makeFolder(dirname(path));
      await makeFolder(dirname(sidecar));
      const ranges = await resumable(place, file);
      const handle = await open(path, ranges.length > 0 ? 'r+' : 'w+');
      if (ranges.length === 0) await rm(sidecar, { force: true });
      if (file.sizeBytes !== undefined) await handle.truncate(file.sizeBytes);
      return new PartFile(place, handle, file, ranges);
    });
  }

  get done(): ByteRanges {
    return this.ranges;
  }

  /** Bytes that are there without a gap from the start. */
  get prefixBytes(): number {
    const [first] = this.ranges;
    return first?.first === 0 ? first.last + 1 : 0;
  }

  get bytesDone(): number {
    return countBytes(this.ranges);
  }

  /** Writes chunks one after the other from `position` on. */
  async write(chunks: Buffer[], position: number): Promise<number> {
    const bytes = chunks.reduce((sum, chunk) => sum + chunk.length, 0);
    await onCacheDisk(this.path, async () => {
      let at = position;
      let rest = chunks;
      while (rest.length > 0) {
        const { bytesWritten } = await this.handle.writev(rest, at);
        at += bytesWritten;
        rest = afterBytes(rest, bytesWritten);
      }
    });
    this.ranges = addRange(this.ranges, { first: position, last: position + bytes - 1 });
    // In the background: a record that cannot be written costs a resume, not the fetch.
    this.saveTimer ??= setTimeout(() => void this.save().catch(() => undefined), SAVE_AFTER_MS).unref();
    return bytes;
  }

  /** Forgets everything: the server sends the whole file again. */
  async restart(): Promise<void> {
    this.ranges = [];
    await this.saved();
    await onCacheDisk(this.path, async () => {
      await rm(this.sidecarPath, { force: true });
      await this.handle.truncate(0);
      if (this.file.sizeBytes !== undefined) await this.handle.truncate(this.file.sizeBytes);
    });
  }

  /** Records progress. Without a version nothing can be resumed, and nothing is recorded. */
  async save(): Promise<void> {
    clearTimeout(this.saveTimer);
    this.saveTimer = undefined;
    const write = () => this.writeSidecar();
    this.saving = this.saving.then(write, write);
    return this.saving;
  }

  private async saved(): Promise<void> {
    clearTimeout(this.saveTimer);
    this.saveTimer = undefined;
    await this.saving.catch(() => undefined);
  }

  private async writeSidecar(): Promise<void> {
    const { sizeBytes, version } = this.file;
    if (sizeBytes === undefined || version === undefined) return;
    const text = JSON.stringify({ bootId: bootId(), sizeBytes, version, done: this.ranges });
    await onCacheDisk(this.path, async () => {
      await writeFile(`${this.sidecarPath}.new`, text);
      await rename(`${this.sidecarPath}.new`, this.sidecarPath);
    });
  }

  /**
   * Makes sure that every byte up to `sizeBytes` has been written and that the file is exactly so long. The sidecar stays, so that a later try finds the file whole.
   */
  async complete(sizeBytes: number): Promise<void> {
    const missing = missingRanges(this.ranges, sizeBytes)[0];
    if (missing !== undefined)
      throw new Error(`bytes ${missing.first}-${missing.last} of ${this.path} are missing`);
    await onCacheDisk(this.path, async () => {
      const { size } = await this.handle.stat();
      if (size !== sizeBytes)
        throw new ModelChangedError(`${this.path} has ${size} bytes instead of ${sizeBytes}`);
    });
    await this.save();
  }

  async close(): Promise<void> {
    await this.saved();
    await this.handle.close();
  }
}

async function resumable(
  { path, sidecar }: { path: string; sidecar: string },
  file: StoredFile,
): Promise<ByteRanges> {
  try {
    const saved = sidecarSchema.parse(JSON.parse(await readFile(sidecar, 'utf8')));
    const same =
      saved.sizeBytes === file.sizeBytes && saved.version === file.version && saved.bootId === bootId();
    if (!same) return [];
    const handle = await open(path, 'r');
    try {
      if ((await handle.stat()).size !== saved.sizeBytes) return [];
    } finally {
      await handle.close();
    }
    return saved.done
      .filter(({ first, last }) => first <= last && last < saved.sizeBytes)
      .reduce(addRange, [] as ByteRanges);
  } catch {
    // Missing or unreadable: the fetch starts from nothing, which is always right.
    return [];
  }
}

function afterBytes(chunks: Buffer[], written: number): Buffer[] {
  let left = written;
  for (const [index, chunk] of chunks.entries()) {
    if (left < chunk.length) return [chunk.subarray(left), ...chunks.slice(index + 1)];
    left -= chunk.length;
  }
  return [];
}
