import { ModelLayoutError, ModelNotFoundError, ModelUnreachableError } from '../errors.ts';
import type {
  ByteRange,
  Listing,
  ModelSource,
  RangeBody,
  StorageLimits,
  StoredFile,
} from '../storage-types.ts';

/** Longest answer that is read as text: a page of a listing, an error. */
export const MAX_TEXT_BYTES = 8 * 1024 ** 2;

interface ListedObject {
  key: string;
  sizeBytes: number;
  version: string | undefined;
}

export interface ObjectPage {
  objects: ListedObject[];
  /** What asks for the next page; undefined on the last one. */
  next: string | undefined;
}

/** There is no such bucket or container: no use in looking below the name. */
export class BucketNotFoundError extends ModelNotFoundError {}

/** A model in an object store: one object, or all objects below a prefix. */
export abstract class ObjectSource implements ModelSource {
  readonly label: string;
  protected readonly limits: StorageLimits;
  private readonly base: string;
  private readonly key: string;
  /** Prefix that relative paths start from: '' or ending in '/'. */
  protected root: string;

  /** @param base What stands before the key in messages, such as `s3://bucket/`. */
  protected constructor(base: string, key: string, limits: StorageLimits) {
    this.base = base;
    this.key = key;
    this.limits = limits;
    this.label = base + key;
    this.root = key.slice(0, key.lastIndexOf('/') + 1);
  }

  assume(modelPath: string): void {
    const isObject = this.key.slice(this.root.length) === modelPath;
    if (!isObject && this.key !== '' && !this.key.endsWith('/')) this.root = `${this.key}/`;
  }

  /** The object of that very name, else what lies below it as a prefix. */
  async list(signal: AbortSignal): Promise<Listing> {
    if (this.key !== '' && !this.key.endsWith('/')) {
      try {
        return { single: true, files: [await this.stat(this.key.slice(this.root.length), signal)] };
      } catch (error) {
        if (!(error instanceof ModelNotFoundError) || error instanceof BucketNotFoundError) throw error;
      }
      this.root = `${this.key}/`;
    }
    const files = await this.listBelow(this.root, signal);
    if (files.length === 0) {
      throw new ModelNotFoundError(`${this.label} does not exist: no object of that name and none below it`);
    }
    return { single: false, files };
  }

  abstract stat(path: string, signal: AbortSignal): Promise<StoredFile>;
  abstract fetchRange(
    file: StoredFile,
    range: ByteRange | undefined,
    signal: AbortSignal,
  ): Promise<RangeBody>;
  /** @param next as the page before said it; undefined for the first one. */
  protected abstract listPage(
    prefix: string,
    next: string | undefined,
    signal: AbortSignal,
  ): Promise<ObjectPage>;

  protected labelOf(path: string): string {
    return `${this.base}${this.root}${path}`;
  }

  private async listBelow(prefix: string, signal: AbortSignal): Promise<StoredFile[]> {
    const files: StoredFile[] = [];
    let next: string | undefined;
    do {
      const page = await this.listPage(prefix, next, signal);
      for (const { key, sizeBytes, version } of page.objects) {
        // A key ending in / is a console's placeholder for a folder.
        if (!key.startsWith(prefix) || key.endsWith('/')) continue;
        files.push({ path: key.slice(prefix.length), sizeBytes, version });
      }
      if (files.length > this.limits.listedFiles) {
        throw new ModelLayoutError(
          `${this.label} holds more than ${this.limits.listedFiles} objects; name the model`,
        );
      }
      if (next !== undefined && page.next === next) {
        throw new ModelUnreachableError(`${this.label}: the listing repeats itself`, { retryable: false });
      }
      next = page.next;
    } while (next !== undefined);
    return files;
  }
}

/** Each segment escaped but for unreserved characters, as SigV4 wants it and the others take it. */
export function encodeKey(key: string): string {
  return key.split('/').map(encodeSegment).join('/');
}

export function encodeSegment(segment: string): string {
  return encodeURIComponent(segment).replace(
    /[!'()*]/g,
    (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`,
  );
}
