import type { HttpAnswer } from '../http-client.ts';
import { readText } from '../http-client.ts';
import type { StorageLimits } from '../storage-types.ts';
import { EtaggedObjectSource } from './etagged-object-source.ts';
import { MAX_TEXT_BYTES, type ObjectPage } from './object-source.ts';
import type { S3Requests } from './s3-requests.ts';
import { parseObjectPage } from './s3-xml.ts';

/** A model in an S3 bucket: one object, or all objects below a prefix. */
export class S3Source extends EtaggedObjectSource {
  private readonly requests: S3Requests;

  constructor(location: { bucket: string; key: string }, requests: S3Requests, limits: StorageLimits) {
    super(`s3://${location.bucket}/`, location.key, limits);
    this.requests = requests;
  }

  protected getObject(
    key: string,
    headers: Record<string, string>,
    signal: AbortSignal,
  ): Promise<HttpAnswer> {
    return this.requests.send({ key, headers, signal });
  }

  protected async listPage(
    prefix: string,
    next: string | undefined,
    signal: AbortSignal,
  ): Promise<ObjectPage> {
    const query = new URLSearchParams({ 'list-type': '2', prefix });
    if (next !== undefined) query.set('continuation-token', next);
    const answer = await this.requests.send({ key: '', query, signal });
    await this.refuseFailure(answer, this.label);
    return parseObjectPage(await readText(answer.body, MAX_TEXT_BYTES, this.label), this.label);
  }

  protected refuseFailure(answer: HttpAnswer, label: string): Promise<void> {
    return this.requests.refuseFailure(answer, label);
  }
}
