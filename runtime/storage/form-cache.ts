import { createHash, randomUUID } from 'node:crypto';
import { mkdir, open, readdir, readFile, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { z } from 'zod';
import { CacheLock } from './cache-lock.ts';
import { isUnsynced } from './durability.ts';
import { CacheFullError } from './errors.ts';
import { LeasedEntries, namesIn } from './leased-entries.ts';

/** File names within a form; the weights lie beside the graph so that ONNX Runtime maps them. */
export const GRAPH = 'graph.onnx';
export const WEIGHTS = 'weights.bin';
const MANIFEST = 'manifest.json';
/** A draft that nobody has touched for so long was left by a process that is gone. */
const ABANDONED_AFTER_MS = 10 * 60_000;
/** Blocks of the weights that a fingerprint looks at: some 20 µs each while their pages are in memory. */
const SAMPLED_BLOCKS = 16;
const BLOCK_BYTES = 4096;

const manifestSchema = z.object({
  format: z.literal(1),
  files: z.record(z.string(), z.number().int().nonnegative()),
  fingerprint: z.string(),
  /** What was found out while it was made. */
  facts: z.record(z.string(), z.boolean()),
});
type Manifest = z.infer<typeof manifestSchema>;
export type FormFacts = Manifest['facts'];

/** A form that is being written. One that is neither published nor discarded goes after ten minutes. */
export interface FormDraft {
  folder: string;
  /** Of two processes that publish the same form the first one's stays. @throws system errors */
  publish(facts: FormFacts): Promise<void>;
  /** Does nothing once it is published. */
  discard(): Promise<void>;
}

export interface FormRoom {
  /** That the form will take, at most. */
  neededBytes: number;
  /** That all forms together may take. */
  maxBytes: number;
  /** That the disk must have free, where somebody else is about to write as well. */
  diskBytes?: number;
}

/** A form that nobody evicts until it is released. */
export interface LeasedForm {
  graphPath: string;
  /** Absolute paths, the graph first. */
  files: string[];
  sizeBytes: number;
  facts: FormFacts;
  release(): Promise<void>;
}

/**
 * Other forms of models, made from them on this machine and good to be made again: with their weights outside, optimised,
 * prepacked. A form is a graph and its weights, published whole by one rename, in `<cache>/forms/`.
 *
 * A form that is not whole (a size that differs, another fingerprint) is thrown away where it is found. The fingerprint
 * is over the graph and sixteen blocks of the weights: a hole, a file of zeros and a graph that was edited are found
 * at once; a single bit that the disk lost in between is not.
 */
export class FormCache {
  readonly #entries: LeasedEntries;
  readonly #nowMs: () => number;

  constructor(cacheDir: string, nowMs: () => number = Date.now) {
    this.#entries = new LeasedEntries(join(cacheDir, 'forms'), nowMs);
    this.#nowMs = nowMs;
  }

  /** The form of that key with a lease on it, or undefined. */
  async find(key: string): Promise<LeasedForm | undefined> {
    const entry = this.#entries.pathOf(key);
    if ((await stat(entry).catch(() => undefined)) === undefined) return undefined;
    const lease = await this.#entries.lease(key);
    const manifest = await wholeManifest(entry);
    if (manifest === undefined) {
      await lease?.remove();
      // A folder that can't be written to is still good to read, and what is bad in it stays.
      await this.#entries.discard(entry).catch(() => undefined);
      return undefined;
    }
    const now = new Date(this.#nowMs());
    await utimes(join(entry, MANIFEST), now, now).catch(() => undefined);
    return {
      graphPath: join(entry, GRAPH),
      files: Object.keys(manifest.files).map((name) => join(entry, name)),
      sizeBytes: bytesOf(manifest),
      facts: manifest.facts,
      release: async () => lease?.remove(),
    };
  }

  /**
   * A folder to write the files of a form into, the graph at least.
   *
   * @throws CacheFullError when there is no room; system errors
   */
  async begin(key: string, room: FormRoom): Promise<FormDraft> {
    await this.#entries.prepare(['drafts']);
    await this.#makeRoom(room);
    const folder = join(this.#entries.dir, 'drafts', randomUUID());
    await mkdir(folder);
    return {
      folder,
      publish: (facts) => this.#publish(key, folder, facts),
      discard: () => discardFolder(folder),
    };
  }

  async #publish(key: string, folder: string, facts: FormFacts): Promise<void> {
    const files: Record<string, number> = {};
    const found = await readdir(folder, { recursive: true, withFileTypes: true });
    const names = found
      .filter((one) => one.isFile())
      .map((one) => relative(folder, join(one.parentPath, one.name)));
    for (const name of [GRAPH, ...names.filter((one) => one !== GRAPH)])
      files[name] = (await stat(join(folder, name))).size;
    const fingerprint = await fingerprintOf(folder, files);
    const manifest: Manifest = { format: 1, files, fingerprint, facts };
    await writeFile(join(folder, MANIFEST), JSON.stringify(manifest));
    const isWhole = async (entry: string): Promise<boolean> => (await wholeManifest(entry)) !== undefined;
    await this.#entries.publish(folder, key, [MANIFEST, ...Object.keys(files)], isWhole);
  }

  /** Among all processes that would make the form. Undefined while another one holds it. */
  tryLock(key: string): Promise<CacheLock | undefined> {
    return CacheLock.tryAcquire(join(this.#entries.dir, 'locks'), key, this.#nowMs);
  }

  /** Takes out a form that could not be loaded, whoever uses it: what is mapped stays mapped. */
  async remove(key: string): Promise<void> {
    await this.#entries.discard(this.#entries.pathOf(key));
  }

  /** Takes out a form that is not needed any more, unless somebody uses it. True when it is gone. */
  evict(key: string): Promise<boolean> {
    return this.#entries.evict(key);
  }

  /** Least recently used first. */
  async list(): Promise<{ key: string; sizeBytes: number; lastUsedAtMs: number }[]> {
    const found: { key: string; sizeBytes: number; lastUsedAtMs: number }[] = [];
    for (const key of await this.#entries.keys()) {
      const path = join(this.#entries.pathOf(key), MANIFEST);
      const manifest = await readManifest(path);
      const times = await stat(path).catch(() => undefined);
      if (manifest === undefined || times === undefined) continue;
      found.push({ key, sizeBytes: bytesOf(manifest), lastUsedAtMs: times.mtimeMs });
    }
    return found.sort((left, right) => left.lastUsedAtMs - right.lastUsedAtMs);
  }

  async #makeRoom({ neededBytes, maxBytes, diskBytes = neededBytes }: FormRoom): Promise<void> {
    await this.#entries.emptyTrash();
    await this.#dropAbandonedDrafts();
    const forms = await this.list();
    let usedBytes = forms.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
    const isEnough = async (): Promise<boolean> =>
      usedBytes + neededBytes <= maxBytes && (await this.#entries.freeBytes()) >= diskBytes;
    for (const { key, sizeBytes } of forms) {
      if (await isEnough()) return;
      if (neededBytes <= maxBytes && (await this.evict(key))) usedBytes -= sizeBytes;
    }
    if (await isEnough()) return;
    throw new CacheFullError(
      `no room for another form of a model: it needs ${neededBytes} bytes, ${usedBytes} of ${maxBytes} are taken by forms in use, ${await this.#entries.freeBytes()} are free on the disk`,
    );
  }

  async #dropAbandonedDrafts(): Promise<void> {
    const folder = join(this.#entries.dir, 'drafts');
    for (const name of await namesIn(folder)) {
      const path = join(folder, name);
      const found = await stat(path).catch(() => undefined);
      if (found !== undefined && this.#nowMs() - found.mtimeMs > ABANDONED_AFTER_MS)
        await rm(path, { recursive: true, force: true });
    }
  }
}

async function discardFolder(folder: string): Promise<void> {
  await rm(folder, { recursive: true, force: true });
}

/** The manifest of an entry whose files are as they were published. */
async function wholeManifest(entry: string): Promise<Manifest | undefined> {
  const manifest = await readManifest(join(entry, MANIFEST));
  if (manifest === undefined || (await isUnsynced(entry))) return undefined;
  try {
    for (const [name, sizeBytes] of Object.entries(manifest.files)) {
      if ((await stat(join(entry, name))).size !== sizeBytes) return undefined;
    }
    return (await fingerprintOf(entry, manifest.files)) === manifest.fingerprint ? manifest : undefined;
  } catch {
    return undefined;
  }
}

async function fingerprintOf(folder: string, files: Readonly<Record<string, number>>): Promise<string> {
  const hash = createHash('sha256').update(await readFile(join(folder, GRAPH)));
  const sizeBytes = files[WEIGHTS] ?? 0;
  if (sizeBytes === 0) return hash.digest('hex');
  const handle = await open(join(folder, WEIGHTS), 'r');
  try {
    const blocks = Math.ceil(sizeBytes / BLOCK_BYTES);
    const buffer = Buffer.alloc(BLOCK_BYTES);
    for (let sample = 0; sample < Math.min(SAMPLED_BLOCKS, blocks); sample += 1) {
      const block = Math.floor((sample * blocks) / Math.min(SAMPLED_BLOCKS, blocks));
      const { bytesRead } = await handle.read(buffer, 0, BLOCK_BYTES, block * BLOCK_BYTES);
      hash.update(buffer.subarray(0, bytesRead));
    }
  } finally {
    await handle.close();
  }
  return hash.digest('hex');
}

async function readManifest(path: string): Promise<Manifest | undefined> {
  try {
    return manifestSchema.parse(JSON.parse(await readFile(path, 'utf8')));
  } catch {
    return undefined;
  }
}

function bytesOf({ files }: Manifest): number {
  return Object.values(files).reduce((sum, sizeBytes) => sum + sizeBytes, 0);
}
