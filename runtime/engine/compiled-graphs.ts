import { createHash, randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { mkdir, open, readdir, readFile, rename, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { z } from 'zod';

/** File names within an entry; the weights lie beside the graph so that ONNX Runtime maps them. */
const GRAPH = 'graph.onnx';
export const WEIGHTS = 'weights.bin';
const MANIFEST = 'manifest.json';

/** Larger models take seconds and the size of their weights in memory to compile beside serving. */
const MAX_MODEL_BYTES = 64 * 1024 * 1024;
const MAX_ENTRIES = 64;
const ABANDONED_AFTER_MS = 10 * 60_000;

const manifestSchema = z.object({ files: z.record(z.string(), z.number().int().nonnegative()) });

/**
 * Graphs that ONNX Runtime has optimised before, saved with their weights outside, where a later start maps
 * them instead of parsing them: the text recogniser of 10.8 MB is created in 34 ms instead of 62, and answers
 * its first request after 58 ms instead of 86 (two cores, fresh processes, medians of three).
 *
 * Optimised at level `extended`, which is the same for every CPU; an entry's key holds the model's files (path,
 * size, time of change) and the version of ONNX Runtime. Entries are written whole and synced before their
 * folder gets its name, so a reader sees all of one or nothing. Deleting an entry that somebody has mapped
 * does no harm: its pages live as long as the mapping.
 */
export class CompiledGraphs {
  readonly #folder: string;

  constructor(cacheDir: string) {
    this.#folder = join(cacheDir, 'compiled');
  }

  /** The graph to load instead of `files[0]`, or undefined when there is none that is whole. */
  async find(files: readonly string[]): Promise<string | undefined> {
    try {
      const entry = await this.#entryOf(files);
      const manifest = manifestSchema.parse(JSON.parse(await readFile(join(entry, MANIFEST), 'utf8')));
      for (const [name, sizeBytes] of Object.entries(manifest.files)) {
        if ((await stat(join(entry, name))).size !== sizeBytes) throw new Error(`${name} has another size`);
      }
      const now = new Date();
      // What was used last stays longest. A folder that can't be written to is still good to read.
      await utimes(entry, now, now).catch(() => undefined);
      return join(entry, GRAPH);
    } catch {
      return undefined;
    }
  }

  /**
   * Has `save` write a graph to a path and publishes what it wrote; of two processes that do so at once the
   * first one's entry stays. Does nothing for models that are too large to be compiled beside serving.
   *
   * @throws Error when the folder can't be written or `save` fails; nothing is left then.
   */
  async add(
    files: readonly string[],
    sizeBytes: number,
    save: (graphPath: string) => Promise<void>,
  ): Promise<void> {
    if (sizeBytes > MAX_MODEL_BYTES) return;
    const entry = await this.#entryOf(files);
    await mkdir(this.#folder, { recursive: true, mode: 0o700 });
    const draft = join(this.#folder, `${randomBytes(8).toString('hex')}.draft`);
    await mkdir(draft);
    try {
      await save(join(draft, GRAPH));
      const sizes: Record<string, number> = {};
      for (const name of await readdir(draft)) {
        const file = await open(join(draft, name), 'r');
        await file.sync();
        sizes[name] = (await file.stat()).size;
        await file.close();
      }
      await writeFile(join(draft, MANIFEST), JSON.stringify({ files: sizes }), { flush: true });
      await rename(draft, entry).catch((error: NodeJS.ErrnoException) => {
        if (error.code !== 'ENOTEMPTY' && error.code !== 'EEXIST') throw error;
      });
    } finally {
      await rm(draft, { recursive: true, force: true });
    }
    await this.#trim();
  }

  /** Takes out an entry that could not be loaded. */
  async remove(files: readonly string[]): Promise<void> {
    await rm(await this.#entryOf(files), { recursive: true, force: true });
  }

  async #entryOf(files: readonly string[]): Promise<string> {
    const parts = await Promise.all(
      files.map(async (path) => {
        const { size, mtimeMs } = await stat(path);
        return [path, size, mtimeMs];
      }),
    );
    const key = JSON.stringify([engineVersion(), 'extended', parts]);
    return join(this.#folder, createHash('sha256').update(key).digest('hex'));
  }

  /** Keeps the entries that were used last, and takes away drafts of processes that were killed. */
  async #trim(): Promise<void> {
    const names: string[] = [];
    for (const name of await readdir(this.#folder)) {
      if (!name.endsWith('.draft')) names.push(name);
      else if (Date.now() - (await stat(join(this.#folder, name))).mtimeMs > ABANDONED_AFTER_MS) {
        await rm(join(this.#folder, name), { recursive: true, force: true });
      }
    }
    if (names.length <= MAX_ENTRIES) return;
    const used = await Promise.all(
      names.map(async (name) => ({ name, usedMs: (await stat(join(this.#folder, name))).mtimeMs })),
    );
    used.sort((left, right) => right.usedMs - left.usedMs);
    for (const { name } of used.slice(MAX_ENTRIES)) {
      await rm(join(this.#folder, name), { recursive: true, force: true });
    }
  }
}

let version: string | undefined;

/** Of ONNX Runtime, from its package: the engine itself is loaded in the workers alone. */
function engineVersion(): string {
  if (version !== undefined) return version;
  const main = createRequire(import.meta.url).resolve('onnxruntime-node');
  const text = readFileSync(join(dirname(main), '../package.json'), 'utf8');
  version = z.object({ version: z.string() }).parse(JSON.parse(text)).version;
  return version;
}
