import { ModelForbiddenError, ModelNotFoundError } from './errors.ts';
import { networkError } from './http-client.ts';
import type { ModelSource, StoredFile } from './storage-types.ts';

/** The text of a file that most models don't have: one request, its answer left at `maxBytes`. */
export async function readSmall(
  source: ModelSource,
  file: StoredFile,
  maxBytes: number,
  signal: AbortSignal,
): Promise<string | undefined> {
  try {
    const { body } = await source.fetchRange(file, undefined, signal);
    const chunks: Buffer[] = [];
    let sizeBytes = 0;
    try {
      for await (const chunk of body) {
        if (!Buffer.isBuffer(chunk)) continue;
        sizeBytes += chunk.length;
        if (sizeBytes > maxBytes) return undefined;
        chunks.push(chunk);
      }
    } catch (error) {
      throw networkError(error, 'the server', source.label);
    } finally {
      body.destroy();
    }
    return Buffer.concat(chunks).toString('utf8');
  } catch (error) {
    // A store that hides what isn't there answers 403 to those who may not list.
    if (error instanceof ModelNotFoundError || error instanceof ModelForbiddenError) return undefined;
    throw error;
  }
}
