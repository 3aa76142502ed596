import { ModelUnreachableError } from '../errors.ts';

interface ListedObject {
  key: string;
  sizeBytes: number;
  etag: string | undefined;
}

export interface ObjectPage {
  objects: ListedObject[];
  /** Present while there is more. */
  continuationToken: string | undefined;
}

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
  const objects: ListedObject[] = [];
  for (const [, content = ''] of xml.matchAll(/<Contents>([\s\S]*?)<\/Contents>/g)) {
    const key = tag(content, 'Key');
    const size = Number(tag(content, 'Size') ?? Number.NaN);
    if (key === undefined || !Number.isSafeInteger(size) || size < 0) continue;
    objects.push({ key, sizeBytes: size, etag: tag(content, 'ETag') });
  }
  const head = xml.replace(/<Contents>[\s\S]*<\/Contents>/g, '');
  const truncated = tag(head, 'IsTruncated') === 'true';
  return { objects, continuationToken: truncated ? tag(head, 'NextContinuationToken') : undefined };
}

/** `Code: Message` of an S3 error, shortened; empty when the text is none. */
export function parseS3Error(xml: string): { code: string; region: string | undefined; text: string } {
  const code = tag(xml, 'Code') ?? '';
  const message = (tag(xml, 'Message') ?? '').slice(0, 200);
  return { code, region: tag(xml, 'Region'), text: message === '' ? code : `${code}: ${message}` };
}

function tag(xml: string, name: string): string | undefined {
  const text = new RegExp(`<${name}>([^<]*)</${name}>`).exec(xml)?.[1];
  return text === undefined ? undefined : decodeEntities(text);
}

const NAMED: Record<string, string> = { lt: '<', gt: '>', amp: '&', quot: '"', apos: "'" };

function decodeEntities(text: string): string {
  return text.replace(/&(?:#x([0-9a-f]{1,6})|#(\d{1,7})|(\w+));/gi, (whole, hex, decimal, name) => {
    if (typeof name === 'string') return NAMED[name] ?? whole;
    const point = typeof hex === 'string' ? Number.parseInt(hex, 16) : Number(decimal);
    return point <= 0x10ffff ? String.fromCodePoint(point) : whole;
  });
}
