import type { GcsAccess } from '../../../contracts/storage-access.ts';
import type { GoogleCredentials } from '../credentials/google.ts';
import {
  InvalidModelUriError,
  ModelChangedError,
  ModelUnreachableError,
  UnsupportedModelError,
} from '../errors.ts';
import { rangeHeader, readRangeAnswer, statusError } from '../http-answer.ts';
import { type HttpAnswer, httpGet, readText } from '../http-client.ts';
import type { ByteRange, RangeBody, StorageLimits, StoredFile } from '../storage-types.ts';
import {
  BucketNotFoundError,
  encodeSegment,
  MAX_TEXT_BYTES,
  type ObjectPage,
  ObjectSource,
} from './object-source.ts';

const GOOGLE_ENDPOINT = 'https://storage.googleapis.com';
/** As much of an object's metadata as is used. */
const OBJECT_FIELDS = 'name,size,generation,md5Hash,crc32c,contentEncoding';

/** A model in a bucket of Google Cloud Storage, by its JSON API. */
export class GcsSource extends ObjectSource {
  private readonly bucket: string;
  private readonly endpoint: string;
  private readonly credentials: GoogleCredentials;

  constructor(
    location: { bucket: string; key: string },
    access: GcsAccess,
    credentials: GoogleCredentials,
    limits: StorageLimits,
  ) {
    super(`gs://${location.bucket}/`, location.key, limits);
    this.bucket = location.bucket;
    this.credentials = credentials;
    this.endpoint = gcsEndpoint(access.endpoint);
  }

  async stat(path: string, signal: AbortSignal): Promise<StoredFile> {
    const label = this.labelOf(path);
    const url = this.objectUrl(this.root + path, { fields: OBJECT_FIELDS });
    const answer = await this.get(url, {}, label, signal);
    const object = objectOf(parse(await this.okText(answer, label), label), label);
    return { path, sizeBytes: object.sizeBytes, version: object.version };
  }

  async fetchRange(file: StoredFile, range: ByteRange | undefined, signal: AbortSignal): Promise<RangeBody> {
    const label = this.labelOf(file.path);
    const generation = generationOf(file.version);
    const url = this.objectUrl(this.root + file.path, {
      alt: 'media',
      ...(generation !== undefined && { ifGenerationMatch: generation }),
    });
    const answer = await this.get(url, rangeHeader(range), label, signal);
    if (answer.status !== 200 && answer.status !== 206 && answer.status !== 412 && answer.status !== 416)
      await this.okText(answer, label);
    try {
      // Its ETag is one of the metadata; the generation is what names the content.
      const judged = readRangeAnswer(answer, { ...file, version: undefined }, range, label);
      const found = answer.headers['x-goog-generation'];
      if (generation !== undefined && typeof found === 'string' && found !== generation) {
        throw new ModelChangedError(
          `${label} has changed: expected generation ${generation}, the server now has ${found}`,
        );
      }
      return { ...judged, version: file.version, body: answer.body };
    } catch (error) {
      answer.body.destroy();
      throw error;
    }
  }

  protected async listPage(
    prefix: string,
    next: string | undefined,
    signal: AbortSignal,
  ): Promise<ObjectPage> {
    const url = new URL(`${this.endpoint}/storage/v1/b/${encodeSegment(this.bucket)}/o`);
    const query = { prefix, maxResults: '1000', fields: `nextPageToken,items(${OBJECT_FIELDS})` };
    for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value);
    if (next !== undefined) url.searchParams.set('pageToken', next);
    const answer = await this.get(url, {}, this.label, signal);
    if (answer.status === 404) {
      answer.body.destroy();
      throw new BucketNotFoundError(`${this.label}: there is no bucket ${this.bucket} (404)`);
    }
    const page = parse(await this.okText(answer, this.label), this.label);
    const items = Array.isArray(page['items']) ? page['items'] : [];
    const token = page['nextPageToken'];
    return {
      objects: items.map((item: unknown) => {
        const object = item as Record<string, unknown>;
        return { key: String(object['name']), ...objectOf(object, this.label) };
      }),
      next: typeof token === 'string' && token !== '' ? token : undefined,
    };
  }

  /** As whom the credentials say; once more where a refusal has them find another identity. */
  private async get(
    url: URL,
    headers: Record<string, string>,
    label: string,
    signal: AbortSignal,
  ): Promise<HttpAnswer> {
    const answer = await this.send(url, headers, label, signal);
    if (answer.status !== 401 && answer.status !== 403) return answer;
    if (!(await this.credentials.afterRefusal())) return answer;
    answer.body.destroy();
    return this.send(url, headers, label, signal);
  }

  private async send(
    url: URL,
    headers: Record<string, string>,
    label: string,
    signal: AbortSignal,
  ): Promise<HttpAnswer> {
    return httpGet({
      url,
      headers: { ...headers, ...(await this.credentials.headers()) },
      signal,
      connectTimeoutMs: this.limits.connectTimeoutMs,
      idleTimeoutMs: this.limits.idleTimeoutMs,
      // The API redirects nowhere, and a token is for it alone.
      redirects: 0,
      label,
    });
  }

  private objectUrl(key: string, query: Record<string, string>): URL {
    const url = new URL(
      `${this.endpoint}/storage/v1/b/${encodeSegment(this.bucket)}/o/${encodeSegment(key)}`,
    );
    for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value);
    return url;
  }

  /** The text of a good answer. @throws what a failure means for the model */
  private async okText(answer: HttpAnswer, label: string): Promise<string> {
    const text = await readText(answer.body, MAX_TEXT_BYTES, label);
    if (answer.status === 200) return text;
    throw statusError(answer.status, answer.headers, label, errorMessage(text));
  }
}

/** The base of the API: `host:port`, as STORAGE_EMULATOR_HOST may say it, means plain HTTP. */
export function gcsEndpoint(endpoint: string | undefined): string {
  if (endpoint === undefined) return GOOGLE_ENDPOINT;
  const url = URL.parse(/^https?:\/\//i.test(endpoint) ? endpoint : `http://${endpoint}`);
  if (url === null) {
    throw new InvalidModelUriError(`the gs endpoint "${endpoint}" is no URL; expected http://host:port`);
  }
  return `${url.origin}${url.pathname}`.replace(/\/+$/, '');
}

/** `generation:<n>` and a checksum: the generation is what a request can insist on. */
function objectOf(
  object: Record<string, unknown>,
  label: string,
): { sizeBytes: number; version: string | undefined } {
  const { size, generation, md5Hash, crc32c, contentEncoding } = object;
  const sizeBytes = Number(size);
  if (!Number.isSafeInteger(sizeBytes) || sizeBytes < 0) {
    throw new ModelUnreachableError(`${label}: the server does not say how large it is`, {
      retryable: false,
    });
  }
  if (contentEncoding === 'gzip') {
    throw new UnsupportedModelError(
      `${label} is stored with content-encoding gzip; expected the plain bytes: upload it without compression`,
    );
  }
  if (typeof generation !== 'string') return { sizeBytes, version: undefined };
  // A composed object has no MD5.
  const sum = typeof md5Hash === 'string' && md5Hash !== '' ? `;md5:${md5Hash}` : '';
  const check = sum === '' && typeof crc32c === 'string' && crc32c !== '' ? `;crc32c:${crc32c}` : sum;
  return { sizeBytes, version: `generation:${generation}${check}` };
}

function generationOf(version: string | undefined): string | undefined {
  return /^generation:(\d{1,20})/.exec(version ?? '')?.[1];
}

function parse(json: string, label: string): Record<string, unknown> {
  let parsed: unknown;
  try {
    parsed = JSON.parse(json);
  } catch {
    parsed = undefined;
  }
  if (typeof parsed !== 'object' || parsed === null) {
    throw new ModelUnreachableError(
      `${label}: the server did not answer as the Google Cloud Storage API does; is it one?`,
      { retryable: false },
    );
  }
  return parsed as Record<string, unknown>;
}

/** Google's own sentence, shortened; '' when the text is no error of the API. */
function errorMessage(text: string): string {
  try {
    const message: unknown = (JSON.parse(text) as { error?: { message?: unknown } }).error?.message;
    return typeof message === 'string' ? message.slice(0, 200) : '';
  } catch {
    return '';
  }
}
