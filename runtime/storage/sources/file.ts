import { createReadStream } from 'node:fs';
import { access, constants, readdir, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import {
  ModelForbiddenError,
  ModelLayoutError,
  ModelNotFoundError,
  ModelUnreachableError,
  systemCode,
} from '../errors.ts';
import type { ByteRange, Listing, ModelSource, RangeBody, StoredFile } from '../storage-types.ts';

/** How far below the named folder a model may lie: `3/onnx/model.onnx` and one more. */
const MAX_DEPTH = 4;

/** A model on this machine's disk. It is used where it lies, never copied. */
export class FileSource implements ModelSource {
  readonly label: string;
  private readonly path: string;
  private readonly listedFiles: number;
  /** The folder that relative paths start from; known once listed. */
  private root: string;

  constructor(path: string, limits: { listedFiles: number }) {
    this.path = path;
    this.root = path;
    this.listedFiles = limits.listedFiles;
    this.label = pathToFileURL(path).href;
  }

  async list(signal: AbortSignal): Promise<Listing> {
    const found = await onDisk(this.path, () => stat(this.path));
    if (!found.isDirectory()) {
      this.root = dirname(this.path);
      return { single: true, files: [await this.stat(basename(this.path), signal)] };
    }
    const paths: string[] = [];
    await this.walk('', 0, paths, signal);
    const files = paths.map(async (path) => this.stat(path, signal));
    return { single: false, files: await Promise.all(files) };
  }

  /** The files of an identity as they are now, without listing what else there is. @throws as `stat` */
  async statKnown(paths: readonly string[], signal: AbortSignal): Promise<StoredFile[]> {
    const found = await onDisk(this.path, () => stat(this.path));
    this.root = found.isDirectory() ? this.path : dirname(this.path);
    return Promise.all(paths.map((path) => this.stat(path, signal)));
  }

  /** Where a listed file lies. */
  localPath(path: string): string {
    return join(this.root, path);
  }

  async stat(path: string, signal: AbortSignal): Promise<StoredFile> {
    signal.throwIfAborted();
    const full = this.localPath(path);
    const found = await onDisk(full, () => stat(full));
    if (!found.isFile()) throw new ModelLayoutError(`${full} is no regular file`);
    await onDisk(full, () => access(full, constants.R_OK));
    return { path, sizeBytes: found.size, version: `mtime:${found.mtimeMs}` };
  }

  fetchRange(file: StoredFile, range: ByteRange | undefined, signal: AbortSignal): Promise<RangeBody> {
    const window = range === undefined ? {} : { start: range.first, end: range.last };
    const body = createReadStream(this.localPath(file.path), { ...window, signal });
    return Promise.resolve({
      kind: range === undefined ? 'whole' : 'range',
      totalBytes: file.sizeBytes,
      version: file.version,
      body,
    });
  }

  /** Hidden folders (`.git`, `.cache`) can be huge and hold no model: they are not entered. */
  private async walk(folder: string, depth: number, paths: string[], signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    const full = join(this.path, folder);
    for (const entry of await onDisk(full, () => readdir(full, { withFileTypes: true }))) {
      if (entry.name.startsWith('.')) continue;
      const path = folder === '' ? entry.name : `${folder}/${entry.name}`;
      const isFolder = entry.isSymbolicLink()
        ? await stat(join(this.path, path))
            .then((target) => target.isDirectory())
            .catch(() => undefined)
        : entry.isDirectory();
      if (isFolder === undefined) continue;
      if (!isFolder) paths.push(path);
      else if (depth < MAX_DEPTH) await this.walk(path, depth + 1, paths, signal);
      if (paths.length > this.listedFiles) {
        throw new ModelLayoutError(
          `${this.label} holds more than ${this.listedFiles} files; name the model itself`,
        );
      }
    }
  }
}

async function onDisk<T>(path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    const code = systemCode(cause);
    if (code === 'ENOENT' || code === 'ENOTDIR') {
      throw new ModelNotFoundError(`${path} does not exist`, { cause });
    }
    if (code === 'EACCES' || code === 'EPERM') {
      throw new ModelForbiddenError(`${path}: no permission to read it (${code})`, { cause });
    }
    throw new ModelUnreachableError(`${path} cannot be read (${code ?? String(cause)})`, {
      cause,
      retryable: false,
    });
  }
}
