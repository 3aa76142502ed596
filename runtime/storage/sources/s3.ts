import { AwsV4Signer } from 'aws4fetch';
import type { S3Access } from '../../../contracts/admin.ts';
import {
  InvalidModelUriError,
  ModelForbiddenError,
  ModelLayoutError,
  ModelNotFoundError,
  ModelUnreachableError,
} from '../errors.ts';
import {
  contentRange,
  preconditions,
  rangeHeader,
  readRangeAnswer,
  statusError,
  versionOf,
} from '../http-answer.ts';
import { type HttpAnswer, httpGet, readText } from '../http-client.ts';
import type {
  ByteRange,
  Listing,
  ModelSource,
  RangeBody,
  StorageLimits,
  StoredFile,
} from '../storage-types.ts';
import { parseObjectPage, parseS3Error } from './s3-xml.ts';

const MAX_XML_BYTES = 8 * 1024 ** 2;

/** A model in an S3 bucket: one object, or all objects below a prefix. */
export class S3Source implements ModelSource {
  readonly label: string;
  private readonly bucket: string;
  private readonly key: string;
  private readonly access: S3Access;
  private readonly limits: StorageLimits;
  private region: string;
  /** Prefix that relative paths start from: '' or ending in '/'. */
  private root: string;

  constructor(location: { bucket: string; key: string }, access: S3Access, limits: StorageLimits) {
    this.bucket = location.bucket;
    this.key = location.key;
    this.access = access;
    this.limits = limits;
    this.region = access.region ?? 'us-east-1';
    this.label = `s3://${this.bucket}/${this.key}`;
    this.root = this.key.slice(0, this.key.lastIndexOf('/') + 1);
    checkAccess(access);
  }

  /** The object of that very name, else what lies below it as a prefix. */
  async list(signal: AbortSignal): Promise<Listing> {
    if (this.key !== '' && !this.key.endsWith('/')) {
      try {
        return { single: true, files: [await this.stat(this.key.slice(this.root.length), signal)] };
      } catch (error) {
        if (!(error instanceof ModelNotFoundError) || error.message.includes('NoSuchBucket')) throw error;
      }
      this.root = `${this.key}/`;
    }
    const files = await this.listBelow(this.root, signal);
    if (files.length === 0) {
      throw new ModelNotFoundError(`${this.label} does not exist: no object of that name and none below it`);
    }
    return { single: false, files };
  }

  /** By a GET of one byte: unlike HEAD it brings the store's own error text. */
  async stat(path: string, signal: AbortSignal): Promise<StoredFile> {
    const range = { first: 0, last: 0 };
    const answer = await this.get(this.root + path, new URLSearchParams(), rangeHeader(range), signal);
    if (answer.status === 416) {
      answer.body.destroy();
      return { path, sizeBytes: 0, version: versionOf(answer.headers) };
    }
    const label = this.labelOf(path);
    await this.refuseFailure(answer, label);
    answer.body.resume();
    const judged = readRangeAnswer(answer, { path, sizeBytes: undefined, version: undefined }, range, label);
    const sizeBytes = contentRange(answer.headers['content-range'])?.total ?? judged.totalBytes;
    return { path, sizeBytes, version: judged.version };
  }

  async fetchRange(file: StoredFile, range: ByteRange | undefined, signal: AbortSignal): Promise<RangeBody> {
    const label = this.labelOf(file.path);
    const wanted = { ...rangeHeader(range), ...preconditions(file.version) };
    const answer = await this.get(this.root + file.path, new URLSearchParams(), wanted, signal);
    if (answer.status !== 412 && answer.status !== 416) await this.refuseFailure(answer, label);
    try {
      return { ...readRangeAnswer(answer, file, range, label), body: answer.body };
    } catch (error) {
      answer.body.destroy();
      throw error;
    }
  }

  private async listBelow(prefix: string, signal: AbortSignal): Promise<StoredFile[]> {
    const files: StoredFile[] = [];
    let token: string | undefined;
    do {
      const query = new URLSearchParams({ 'list-type': '2', prefix });
      if (token !== undefined) query.set('continuation-token', token);
      const answer = await this.get('', query, {}, signal);
      await this.refuseFailure(answer, this.label);
      const page = parseObjectPage(await readText(answer.body, MAX_XML_BYTES, this.label), this.label);
      for (const object of page.objects) {
        // A key ending in / is a console's placeholder for a folder.
        if (!object.key.startsWith(prefix) || object.key.endsWith('/')) continue;
        files.push({
          path: object.key.slice(prefix.length),
          sizeBytes: object.sizeBytes,
          version: object.etag,
        });
      }
      if (files.length > this.limits.listedFiles) {
        throw new ModelLayoutError(
          `${this.label} holds more than ${this.limits.listedFiles} objects; name the model`,
        );
      }
      if (token !== undefined && page.continuationToken === token) {
        throw new ModelUnreachableError(`${this.label}: the listing repeats itself`, { retryable: false });
      }
      token = page.continuationToken;
    } while (token !== undefined);
    return files;
  }

  /** Signs and sends; when the store names another region, once more with that one. */
  private async get(
    key: string,
    query: URLSearchParams,
    headers: Record<string, string>,
    signal: AbortSignal,
  ): Promise<HttpAnswer> {
    const answer = await this.send(key, query, headers, signal);
    if (answer.status !== 301 && answer.status !== 307 && answer.status !== 400) return answer;
    const hinted = answer.headers['x-amz-bucket-region'];
    const error = parseS3Error(await readText(answer.body, MAX_XML_BYTES, this.label));
    const region = typeof hinted === 'string' ? hinted : error.region;
    if (region === undefined || region === this.region || !/^[a-z0-9-]{1,40}$/.test(region)) {
      throw statusError(answer.status, answer.headers, this.label, error.text);
    }
    this.region = region;
    return this.send(key, query, headers, signal);
  }

  private async send(
    key: string,
    query: URLSearchParams,
    headers: Record<string, string>,
    signal: AbortSignal,
  ): Promise<HttpAnswer> {
    const url = this.urlOf(key, query);
    return httpGet({
      url,
      headers: await this.signed(url, headers),
      signal,
      connectTimeoutMs: this.limits.connectTimeoutMs,
      idleTimeoutMs: this.limits.idleTimeoutMs,
      // A signature holds for one host only.
      redirects: 0,
      verifyTls: this.access.verifySsl ?? true,
      label: this.label,
    });
  }

  private async signed(url: URL, headers: Record<string, string>): Promise<Record<string, string>> {
    const { accessKeyId, secretAccessKey, sessionToken, anonymous } = this.access;
    if (anonymous === true || accessKeyId === undefined || secretAccessKey === undefined) return headers;
    const signer = new AwsV4Signer({
      url: url.href,
      method: 'GET',
      headers,
      accessKeyId,
      secretAccessKey,
      ...(sessionToken === undefined ? {} : { sessionToken }),
      service: 's3',
      region: this.region,
    });
    return Object.fromEntries((await signer.sign()).headers);
  }

  /** `https://bucket.host/key` or `https://host/bucket/key`. AWS wants the first, others mostly the second. */
  private urlOf(key: string, query: URLSearchParams): URL {
    const endpoint = new URL(this.access.endpoint ?? `https://s3.${this.region}.amazonaws.com`);
    // A bucket with a dot does not match a wildcard certificate.
    const virtual =
      this.access.virtualHosted ?? (this.access.endpoint === undefined && !this.bucket.includes('.'));
    const base = endpoint.pathname.replace(/\/+$/, '');
    const path = key.split('/').map(encodeSegment).join('/');
    const url = new URL(endpoint.origin);
    if (virtual) url.hostname = `${this.bucket}.${endpoint.hostname}`;
    url.pathname = virtual ? `${base}/${path}` : `${base}/${this.bucket}${path === '' ? '' : `/${path}`}`;
    url.search = query.toString().replaceAll('+', '%20');
    return url;
  }

  private labelOf(path: string): string {
    return `s3://${this.bucket}/${this.root}${path}`;
  }

  private async refuseFailure(answer: HttpAnswer, label: string): Promise<void> {
    if (answer.status === 200 || answer.status === 206) return;
    const error = parseS3Error(await readText(answer.body, MAX_XML_BYTES, label));
    if (answer.status === 404 && error.code === 'NoSuchBucket') {
      throw new ModelNotFoundError(`${label}: there is no bucket ${this.bucket} (404 NoSuchBucket)`);
    }
    if (answer.status === 403 && error.code === 'SignatureDoesNotMatch') {
      throw new ModelForbiddenError(`${label}: the secret key is wrong (403 SignatureDoesNotMatch)`);
    }
    // AWS says 403 InvalidAccessKeyId, versitygw 404 XAdminUserNotFound.
    if (error.code === 'InvalidAccessKeyId' || error.code === 'XAdminUserNotFound') {
      throw new ModelForbiddenError(
        `${label}: the access key is not known there (${answer.status} ${error.code})`,
      );
    }
    throw statusError(answer.status, answer.headers, label, error.text);
  }
}

/** As SigV4 wants it: everything but unreserved characters is escaped. */
function encodeSegment(segment: string): string {
  return encodeURIComponent(segment).replace(
    /[!'()*]/g,
    (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`,
  );
}

function checkAccess(access: S3Access): void {
  if ((access.accessKeyId === undefined) !== (access.secretAccessKey === undefined)) {
    throw new ModelForbiddenError(
      'S3 credentials are incomplete: give access key and secret key, or neither',
    );
  }
  if (access.endpoint === undefined) return;
  const url = URL.parse(access.endpoint);
  if (url === null || (url.protocol !== 'http:' && url.protocol !== 'https:') || url.hostname === '') {
    throw new InvalidModelUriError(
      `the S3 endpoint "${access.endpoint}" is no URL; expected https://host[:port]`,
    );
  }
}
