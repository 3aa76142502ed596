import type { Readable } from 'node:stream';
import { AwsV4Signer } from 'aws4fetch';
import type { S3Access } from '../../../contracts/storage-access.ts';
import type { AwsCredentials } from '../credentials/aws.ts';
import { InvalidModelUriError, ModelForbiddenError } from '../errors.ts';
import { statusError } from '../http-answer.ts';
import { type HttpAnswer, httpRequestOnce, readText } from '../http-client.ts';
import type { StorageLimits } from '../storage-types.ts';
import { BucketNotFoundError, encodeKey, MAX_TEXT_BYTES } from './object-source.ts';
import { parseS3Error } from './s3-xml.ts';

export interface S3Request {
  /** GET when absent. */
  method?: 'GET' | 'PUT' | 'DELETE';
  /** Of an object; '' for the bucket itself. */
  key: string;
  query?: URLSearchParams;
  headers?: Record<string, string>;
  /** Opened anew for each try. */
  body?: (() => Readable) | string;
  signal: AbortSignal;
}

/** Signed requests to one bucket. */
export class S3Requests {
  readonly #bucket: string;
  readonly #access: S3Access;
  readonly #credentials: AwsCredentials;
  readonly #limits: StorageLimits;
  readonly #label: string;
  #region: string;

  constructor(
    bucket: string,
    access: S3Access,
    credentials: AwsCredentials,
    limits: StorageLimits,
    label: string,
  ) {
    this.#bucket = bucket;
    this.#access = access;
    this.#credentials = credentials;
    this.#limits = limits;
    this.#label = label;
    this.#region = access.region ?? 'us-east-1';
    checkAccess(access);
  }

  /** Signs and sends; once more with another identity where there is one, or in the region that the store names. */
  async send(request: S3Request): Promise<HttpAnswer> {
    const answer = await this.#sendOnce(request);
    if (answer.status === 403 && (await this.#credentials.afterRefusal())) {
      answer.body.destroy();
      return this.#sendOnce(request);
    }
    if (answer.status !== 301 && answer.status !== 307 && answer.status !== 400) return answer;
    const hinted = answer.headers['x-amz-bucket-region'];
    const error = parseS3Error(await readText(answer.body, MAX_TEXT_BYTES, this.#label));
    const region = typeof hinted === 'string' ? hinted : error.region;
    if (region === undefined || region === this.#region || !/^[a-z0-9-]{1,40}$/.test(region)) {
      throw statusError(answer.status, answer.headers, this.#label, error.text);
    }
    this.#region = region;
    return this.#sendOnce(request);
  }

  /** Returns for what has worked. @throws what a failure means for the model */
  async refuseFailure(answer: HttpAnswer, label: string): Promise<void> {
    if (answer.status >= 200 && answer.status < 300) return;
    const error = parseS3Error(await readText(answer.body, MAX_TEXT_BYTES, label));
    if (answer.status === 404 && error.code === 'NoSuchBucket') {
      throw new BucketNotFoundError(`${label}: there is no bucket ${this.#bucket} (404 NoSuchBucket)`);
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

  async #sendOnce({
    method = 'GET',
    key,
    query = new URLSearchParams(),
    headers = {},
    body,
    signal,
  }: S3Request): Promise<HttpAnswer> {
    const url = this.#urlOf(key, query);
    // A signature holds for one host only, so no redirect is followed.
    return httpRequestOnce({
      url,
      method,
      headers: await this.#signed(method, url, headers),
      ...(body === undefined ? {} : { body: typeof body === 'string' ? body : body() }),
      signal,
      connectTimeoutMs: this.#limits.connectTimeoutMs,
      idleTimeoutMs: this.#limits.idleTimeoutMs,
      verifyTls: this.#access.verifySsl ?? true,
      label: this.#label,
    });
  }

  async #signed(method: string, url: URL, headers: Record<string, string>): Promise<Record<string, string>> {
    const keys = await this.#credentials.keys();
    if (keys === undefined) return headers;
    const { accessKeyId, secretAccessKey, sessionToken } = keys;
    const signer = new AwsV4Signer({
      url: url.href,
      method,
      headers,
      accessKeyId,
      secretAccessKey,
      ...(sessionToken === undefined ? {} : { sessionToken }),
      service: 's3',
      region: this.#region,
    });
    return Object.fromEntries((await signer.sign()).headers);
  }

  /** `https://bucket.host/key` or `https://host/bucket/key`. AWS wants the first, others mostly the second. */
  #urlOf(key: string, query: URLSearchParams): URL {
    const endpoint = new URL(this.#access.endpoint ?? `https://s3.${this.#region}.amazonaws.com`);
    // A bucket with a dot does not match a wildcard certificate.
    const virtual =
      this.#access.virtualHosted ?? (this.#access.endpoint === undefined && !this.#bucket.includes('.'));
    const base = endpoint.pathname.replace(/\/+$/, '');
    const path = encodeKey(key);
    const url = new URL(endpoint.origin);
    if (virtual) url.hostname = `${this.#bucket}.${endpoint.hostname}`;
    url.pathname = virtual ? `${base}/${path}` : `${base}/${this.#bucket}${path === '' ? '' : `/${path}`}`;
    url.search = query.toString().replaceAll('+', '%20');
    return url;
  }
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
