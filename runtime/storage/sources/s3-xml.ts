import { ModelUnreachableError } from '../errors.ts';
import type { ObjectPage } from './object-source.ts';
import { tag } from './xml.ts';

/**
 * One page of ListObjectsV2. The answer is flat and machine-written, so it is read by tag; a text that is no
 * listing at all is refused.
 */
export function parseObjectPage(xml: string, label: string): ObjectPage {
  if (!/<ListBucketResult[\s>]/.test(xml)) {
    throw new ModelUnreachableError(
      `${label}: the server did not answer with an S3 listing; is it an S3 endpoint?`,
      {
        retryable: false,
      },
    );
  }
  const objects: ObjectPage['objects'] = [];
  for (const [, content = ''] of xml.matchAll(/<Contents>([\s\S]*?)<\/Contents>/g)) {
    const key = tag(content, 'Key');
    const size = Number(tag(content, 'Size') ?? Number.NaN);
    if (key === undefined || !Number.isSafeInteger(size) || size < 0) continue;
    objects.push({ key, sizeBytes: size, version: tag(content, 'ETag') });
  }
  const head = xml.replace(/<Contents>[\s\S]*<\/Contents>/g, '');
  const truncated = tag(head, 'IsTruncated') === 'true';
  return { objects, next: truncated ? tag(head, 'NextContinuationToken') : undefined };
}

/** `Code: Message` of an S3 error, shortened; empty when the text is none. */
export function parseS3Error(xml: string): { code: string; region: string | undefined; text: string } {
  const code = tag(xml, 'Code') ?? '';
  const message = (tag(xml, 'Message') ?? '').slice(0, 200);
  return { code, region: tag(xml, 'Region'), text: message === '' ? code : `${code}: ${message}` };
}
