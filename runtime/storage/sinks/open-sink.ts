import { UnsupportedModelError } from '../errors.ts';
import type { Secrets } from '../secrets.ts';
import { openBucket } from '../sources/open-source.ts';
import type { StorageLimits } from '../storage-types.ts';
import type { ModelUri } from '../uri.ts';
import { FileSink } from './file-sink.ts';
import type { ModelSink } from './model-sink.ts';
import { S3Sink } from './s3-sink.ts';

/**
 * A store to write to, whose paths begin at the folder `folder` of what the URI names.
 *
 * @param folder absolute for `file:`, a prefix of keys ('' or ending in '/') for S3
 * @throws UnsupportedModelError for stores that are read only
 */
export function openSink(
  uri: ModelUri,
  folder: string,
  environment: Readonly<Record<string, string | undefined>>,
  limits: StorageLimits,
  secrets: Secrets,
  signal: AbortSignal,
): ModelSink {
  switch (uri.scheme) {
    case 'file':
      return new FileSink(folder);
    case 's3': {
      const { requests } = openBucket(uri, {}, environment, limits, secrets);
      return new S3Sink({ bucket: uri.bucket, prefix: folder }, requests, limits, signal);
    }
    case 'gs':
    case 'azure':
    case 'http':
      throw new UnsupportedModelError(
        `nothing can be written to ${uri.scheme === 'azure' ? 'Azure' : `${uri.scheme}:`} from here: compile into a folder (--to FOLDER), and copy its folder .pilotlight beside the model with the store's own tool`,
      );
  }
}
