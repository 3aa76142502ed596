import { ModelUnreachableError } from '../errors.ts';
import type { ObjectPage } from './object-source.ts';
import { tag } from './xml.ts';

/**
 * One page of List Blobs. The answer is flat and machine-written, so it is read by tag; a text that is no listing
 * at all is refused.
 */
export function parseBlobPage(xml: string, label: string): ObjectPage {
  if (!/<EnumerationResults[\s>]/.test(xml)) {
    throw new ModelUnreachableError(
      `${label}: the server did not answer with a listing of blobs; is it Azure Blob Storage?`,
      { retryable: false },
    );
  }
  const objects: ObjectPage['objects'] = [];
  for (const [, blob = ''] of xml.matchAll(/<Blob>([\s\S]*?)<\/Blob>/g)) {
    const name = tag(blob, 'Name');
    const sizeBytes = Number(tag(blob, 'Content-Length') ?? Number.NaN);
    if (name === undefined || !Number.isSafeInteger(sizeBytes) || sizeBytes < 0) continue;
    // With a hierarchical namespace folders are listed as empty blobs.
    if (tag(blob, 'ResourceType') === 'directory') continue;
    objects.push({ key: name, sizeBytes, version: quoted(tag(blob, 'Etag')) });
  }
  const marker = tag(xml.replace(/<Blobs>[\s\S]*<\/Blobs>/g, ''), 'NextMarker');
  return { objects, next: marker === '' ? undefined : marker };
}

/** Listings show the ETag without the quotes that every other answer has. */
function quoted(etag: string | undefined): string | undefined {
  if (etag === undefined || etag === '' || etag.startsWith('"')) return etag === '' ? undefined : etag;
  return `"${etag}"`;
}
