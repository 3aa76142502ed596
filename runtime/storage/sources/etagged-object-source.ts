import { contentRange, preconditions, rangeHeader, readRangeAnswer, versionOf } from '../http-answer.ts';
import type { HttpAnswer } from '../http-client.ts';
import type { ByteRange, RangeBody, StoredFile } from '../storage-types.ts';
import { ObjectSource } from './object-source.ts';

/** An object store whose answers carry a strong ETag and honour If-Match, as S3 and Azure Blob Storage do. */
export abstract class EtaggedObjectSource extends ObjectSource {
  /** By a GET of one byte: unlike HEAD it brings the store's own error text. */
  async stat(path: string, signal: AbortSignal): Promise<StoredFile> {
    const range = { first: 0, last: 0 };
    const label = this.labelOf(path);
    const answer = await this.getObject(this.root + path, rangeHeader(range), signal);
    if (answer.status === 416) {
      answer.body.destroy();
      return { path, sizeBytes: 0, version: versionOf(answer.headers) };
    }
    await this.refuseFailure(answer, label);
    answer.body.resume();
    const judged = readRangeAnswer(answer, { path, sizeBytes: undefined, version: undefined }, range, label);
    const sizeBytes = contentRange(answer.headers['content-range'])?.total ?? judged.totalBytes;
    return { path, sizeBytes, version: judged.version };
  }

  async fetchRange(file: StoredFile, range: ByteRange | undefined, signal: AbortSignal): Promise<RangeBody> {
    const label = this.labelOf(file.path);
    const wanted = { ...rangeHeader(range), ...preconditions(file.version) };
    const answer = await this.getObject(this.root + file.path, wanted, signal);
    if (answer.status !== 412 && answer.status !== 416) await this.refuseFailure(answer, label);
    try {
      return { ...readRangeAnswer(answer, file, range, label), body: answer.body };
    } catch (error) {
      answer.body.destroy();
      throw error;
    }
  }

  protected abstract getObject(
    key: string,
    headers: Record<string, string>,
    signal: AbortSignal,
  ): Promise<HttpAnswer>;
  /** Returns for 200 and 206. @throws what a failure means for the model */
  protected abstract refuseFailure(answer: HttpAnswer, label: string): Promise<void>;
}
