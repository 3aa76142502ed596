import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { ModelTooLargeError, ModelUnreachableError } from '../errors.ts';
import { versionOf } from '../http-answer.ts';
import { type HttpAnswer, readText } from '../http-client.ts';
import { retrying } from '../retry.ts';
import { MAX_TEXT_BYTES } from '../sources/object-source.ts';
import type { S3Request, S3Requests } from '../sources/s3-requests.ts';
import type { StorageLimits } from '../storage-types.ts';
import type { LocalFile, ModelSink, StoredText } from './model-sink.ts';

/** What S3 takes in one PUT. */
const MAX_OBJECT_BYTES = 5 * 1024 ** 3;

/** A prefix of a bucket. An object appears whole, when its last byte has come and its digest is right. */
export class S3Sink implements ModelSink {
  readonly label: string;
  readonly #requests: S3Requests;
  /** '' or ending in '/'. */
  readonly #prefix: string;
  readonly #limits: StorageLimits;
  readonly #signal: AbortSignal;

  constructor(
    location: { bucket: string; prefix: string },
    requests: S3Requests,
    limits: StorageLimits,
    signal: AbortSignal,
  ) {
    this.label = `s3://${location.bucket}/${location.prefix}`;
    this.#requests = requests;
    this.#prefix = location.prefix;
    this.#limits = limits;
    this.#signal = signal;
  }

  async readText(path: string): Promise<StoredText | undefined> {
    const answer = await this.#send({ key: path });
    if (answer.status === 404) {
      answer.body.destroy();
      return undefined;
    }
    await this.#requests.refuseFailure(answer, this.#labelOf(path));
    const text = await readText(answer.body, MAX_TEXT_BYTES, this.#labelOf(path));
    return { text, version: versionOf(answer.headers) };
  }

  async putFile(path: string, { path: from, sizeBytes, sha256 }: LocalFile): Promise<string | undefined> {
    if (sizeBytes > MAX_OBJECT_BYTES) {
      throw new ModelTooLargeError(
        `${this.#labelOf(path)} has ${sizeBytes} bytes, more than the ${MAX_OBJECT_BYTES} that S3 takes at once; compile into a folder (--to FOLDER), and copy its folder .pilotlight beside the model with the store's own tool`,
      );
    }
    const headers = { 'content-length': String(sizeBytes), 'x-amz-content-sha256': sha256 };
    const answer = await this.#send({
      method: 'PUT',
      key: path,
      headers,
      body: () => createReadStream(from, { highWaterMark: 1024 ** 2 }),
    });
    await this.#requests.refuseFailure(answer, this.#labelOf(path));
    answer.body.resume();
    return versionOf(answer.headers);
  }

  async putText(path: string, text: string, before: StoredText | undefined): Promise<boolean> {
    const sha256 = createHash('sha256').update(text).digest('hex');
    const answer = await this.#send({
      method: 'PUT',
      key: path,
      headers: {
        'content-length': String(Buffer.byteLength(text)),
        'content-type': 'application/json',
        'x-amz-content-sha256': sha256,
        ...(before?.version === undefined ? {} : { 'if-match': before.version }),
        ...(before === undefined ? { 'if-none-match': '*' } : {}),
      },
      body: text,
    });
    // 409: two of them at the same moment.
    if (answer.status === 412 || answer.status === 409) {
      answer.body.destroy();
      return false;
    }
    await this.#requests.refuseFailure(answer, this.#labelOf(path));
    answer.body.resume();
    return true;
  }

  async remove(path: string): Promise<void> {
    const answer = await this.#send({ method: 'DELETE', key: path });
    if (answer.status !== 404) await this.#requests.refuseFailure(answer, this.#labelOf(path));
    answer.body.resume();
  }

  /** Tried again while the store is away or says that it is busy. */
  #send(request: Omit<S3Request, 'signal'>): Promise<HttpAnswer> {
    const { attempts, backoffMs } = this.#limits;
    const key = this.#prefix + request.key;
    return retrying(
      async () => {
        const answer = await this.#requests.send({ ...request, key, signal: this.#signal });
        if (answer.status !== 429 && answer.status < 500) return answer;
        answer.body.destroy();
        throw new ModelUnreachableError(`${this.#labelOf(request.key)}: the store answers ${answer.status}`);
      },
      { attempts, backoffMs, signal: this.#signal },
    );
  }

  #labelOf(path: string): string {
    return this.label + path;
  }
}
