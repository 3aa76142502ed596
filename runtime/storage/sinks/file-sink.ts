import { randomUUID } from 'node:crypto';
import { copyFile, mkdir, open, readFile, rename, rm, rmdir, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { PilotlightError } from '../../../contracts/errors.ts';
import { ModelForbiddenError, systemCode } from '../errors.ts';
import type { LocalFile, ModelSink, StoredText } from './model-sink.ts';

/** A folder of this machine. Each file is written beside its place, brought to the disk and renamed. */
export class FileSink implements ModelSink {
  readonly label: string;
  readonly #root: string;

  constructor(root: string) {
    this.#root = root;
    this.label = pathToFileURL(root).href;
  }

  async readText(path: string): Promise<StoredText | undefined> {
    return this.#onDisk(path, async (full) => {
      try {
        return { text: await readFile(full, 'utf8'), version: undefined };
      } catch (error) {
        if (systemCode(error) === 'ENOENT') return undefined;
        throw error;
      }
    });
  }

  async putFile(path: string, file: LocalFile): Promise<string | undefined> {
    await this.#write(path, (draft) => copyFile(file.path, draft));
    return this.#onDisk(path, async (full) => `mtime:${(await stat(full)).mtimeMs}`);
  }

  async putText(path: string, text: string, before: StoredText | undefined): Promise<boolean> {
    const now = await this.readText(path);
    if (now?.text !== before?.text) return false;
    await this.#write(path, (draft) => writeFile(draft, text));
    return true;
  }

  async remove(path: string): Promise<void> {
    await this.#onDisk(path, async (full) => {
      await rm(full, { force: true });
      // The folder of a form goes with its last file.
      await rmdir(dirname(full)).catch(() => undefined);
    });
  }

  async #write(path: string, write: (draft: string) => Promise<void>): Promise<void> {
    await this.#onDisk(path, async (full) => {
      await mkdir(dirname(full), { recursive: true });
      const draft = join(dirname(full), `.${randomUUID()}.part`);
      try {
        await write(draft);
        const handle = await open(draft, 'r+');
        try {
          await handle.sync();
        } finally {
          await handle.close();
        }
        await rename(draft, full);
      } finally {
        await rm(draft, { force: true });
      }
    });
  }

  async #onDisk<Result>(path: string, work: (full: string) => Promise<Result>): Promise<Result> {
    const full = join(this.#root, path);
    try {
      return await work(full);
    } catch (cause) {
      const code = systemCode(cause);
      if (code === 'EACCES' || code === 'EPERM' || code === 'EROFS') {
        throw new ModelForbiddenError(`${full}: no permission to write it (${code})`, { cause });
      }
      if (code === 'ENOSPC' || code === 'EDQUOT') {
        throw new PilotlightError('cache-full', `${full}: the disk is full (${code})`, { cause });
      }
      if (code === undefined) throw cause;
      throw new PilotlightError('internal', `${full} cannot be written (${code})`, { cause });
    }
  }
}
