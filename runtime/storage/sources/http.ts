import { posix } from 'node:path';
import { contentRange, preconditions, rangeHeader, readRangeAnswer, versionOf } from '../http-answer.ts';
import { type HttpAnswer, httpGet } from '../http-client.ts';
import type {
  ByteRange,
  Listing,
  ModelSource,
  RangeBody,
  StorageLimits,
  StoredFile,
} from '../storage-types.ts';
import { redactUri } from '../uri.ts';

/**
 * A model at a plain HTTP URL. There is no listing: the URL names the `.onnx` file, and external data is looked
 * for beside it, with the same query (which signs presigned URLs, where it usually fits one object only).
 */
export class HttpSource implements ModelSource {
  readonly label: string;
  private readonly url: URL;
  private readonly secretHeaders: Record<string, string>;
  private readonly limits: StorageLimits;

  constructor(url: string, secretHeaders: Record<string, string>, limits: StorageLimits) {
    this.url = new URL(url);
    this.secretHeaders = secretHeaders;
    this.limits = limits;
    this.label = redactUri(url);
  }

  async list(signal: AbortSignal): Promise<Listing> {
    const name = decodeURIComponent(posix.basename(this.url.pathname));
    return { single: true, files: [await this.stat(name, signal)] };
  }

  /** By a GET of one byte: HEAD is refused by presigned URLs and by many servers. */
  async stat(path: string, signal: AbortSignal): Promise<StoredFile> {
    const range = { first: 0, last: 0 };
    const answer = await this.get(path, rangeHeader(range), signal);
    // The rest of a whole file would follow a 200; one byte keeps the connection usable.
    if (answer.status === 206) answer.body.resume();
    else answer.body.destroy();
    if (answer.status === 416) {
      return { path, sizeBytes: 0, version: versionOf(answer.headers) };
    }
    const unknown = { path, sizeBytes: undefined, version: undefined };
    const judged = readRangeAnswer(answer, unknown, range, this.labelOf(path));
    const sizeBytes = contentRange(answer.headers['content-range'])?.total ?? judged.totalBytes;
    return { path, sizeBytes, version: judged.version };
  }

  async fetchRange(file: StoredFile, range: ByteRange | undefined, signal: AbortSignal): Promise<RangeBody> {
    const wanted = { ...rangeHeader(range), ...preconditions(file.version) };
    const answer = await this.get(file.path, wanted, signal);
    try {
      return { ...readRangeAnswer(answer, file, range, this.labelOf(file.path)), body: answer.body };
    } catch (error) {
      answer.body.destroy();
      throw error;
    }
  }

  private get(path: string, headers: Record<string, string>, signal: AbortSignal): Promise<HttpAnswer> {
    return httpGet({
      url: this.urlOf(path),
      headers,
      secretHeaders: this.secretHeaders,
      signal,
      connectTimeoutMs: this.limits.connectTimeoutMs,
      idleTimeoutMs: this.limits.idleTimeoutMs,
      redirects: this.limits.redirects,
      label: this.labelOf(path),
    });
  }

  private urlOf(path: string): URL {
    const url = new URL(this.url);
    const folder = url.pathname.slice(0, url.pathname.lastIndexOf('/') + 1);
    url.pathname = folder + path.split('/').map(encodeURIComponent).join('/');
    return url;
  }

  private labelOf(path: string): string {
    return redactUri(this.urlOf(path).href);
  }
}
