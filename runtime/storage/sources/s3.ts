import { AwsV4Signer } from 'aws4fetch';
import type { S3Access } from '../../../contracts/storage-access.ts';
import type { AwsCredentials } from '../credentials/aws.ts';
import { InvalidModelUriError, ModelForbiddenError } from '../errors.ts';
import { statusError } from '../http-answer.ts';
import { type HttpAnswer, httpGet, readText } from '../http-client.ts';
import type { StorageLimits } from '../storage-types.ts';
import { EtaggedObjectSource } from './etagged-object-source.ts';
import { BucketNotFoundError, encodeKey, MAX_TEXT_BYTES, type ObjectPage } from './object-source.ts';
import { parseObjectPage, parseS3Error } from './s3-xml.ts';

/** A model in an S3 bucket: one object, or all objects below a prefix. */
export class S3Source extends EtaggedObjectSource {
  private readonly bucket: string;
  private readonly access: S3Access;
  private readonly credentials: AwsCredentials;
  private region: string;

  constructor(
    location: { bucket: string; key: string },
    access: S3Access,
    credentials: AwsCredentials,
    limits: StorageLimits,
  ) {
    super(`s3://${location.bucket}/`, location.key, limits);
    this.bucket = location.bucket;
    this.access = access;
    this.credentials = credentials;
    this.region = access.region ?? 'us-east-1';
    checkAccess(access);
  }

  protected getObject(
    key: string,
    headers: Record<string, string>,
    signal: AbortSignal,
  ): Promise<HttpAnswer> {
    return this.get(key, new URLSearchParams(), headers, signal);
  }

  protected async listPage(
    prefix: string,
    next: string | undefined,
    signal: AbortSignal,
  ): Promise<ObjectPage> {
    const query = new URLSearchParams({ 'list-type': '2', prefix });
    if (next !== undefined) query.set('continuation-token', next);
    const answer = await this.get('', query, {}, signal);
    await this.refuseFailure(answer, this.label);
    return parseObjectPage(await readText(answer.body, MAX_TEXT_BYTES, this.label), this.label);
  }

  /** Signs and sends; once more with another identity where there is one, or in the region that the store names. */
  private async get(
    key: string,
    query: URLSearchParams,
    headers: Record<string, string>,
    signal: AbortSignal,
  ): Promise<HttpAnswer> {
    const answer = await this.send(key, query, headers, signal);
    if (answer.status === 403 && (await this.credentials.afterRefusal())) {
      answer.body.destroy();
      return this.send(key, query, headers, signal);
    }
    if (answer.status !== 301 && answer.status !== 307 && answer.status !== 400) return answer;
    const hinted = answer.headers['x-amz-bucket-region'];
    const error = parseS3Error(await readText(answer.body, MAX_TEXT_BYTES, this.label));
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
    const keys = await this.credentials.keys();
    if (keys === undefined) return headers;
    const { accessKeyId, secretAccessKey, sessionToken } = keys;
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
    const path = encodeKey(key);
    const url = new URL(endpoint.origin);
    if (virtual) url.hostname = `${this.bucket}.${endpoint.hostname}`;
    url.pathname = virtual ? `${base}/${path}` : `${base}/${this.bucket}${path === '' ? '' : `/${path}`}`;
    url.search = query.toString().replaceAll('+', '%20');
    return url;
  }

  protected async refuseFailure(answer: HttpAnswer, label: string): Promise<void> {
    if (answer.status === 200 || answer.status === 206) return;
    const error = parseS3Error(await readText(answer.body, MAX_TEXT_BYTES, label));
    if (answer.status === 404 && error.code === 'NoSuchBucket') {
      throw new BucketNotFoundError(`${label}: there is no bucket ${this.bucket} (404 NoSuchBucket)`);
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
