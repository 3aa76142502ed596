import type { IncomingHttpHeaders } from 'node:http';
import type { PilotlightError } from '../../contracts/errors.ts';
import {
  ModelChangedError,
  ModelForbiddenError,
  ModelNotFoundError,
  ModelUnreachableError,
  UnsupportedModelError,
} from './errors.ts';
import type { ByteRange, StoredFile } from './storage-types.ts';

const LAST_MODIFIED = 'last-modified:';

/** What tells this content from another: the ETag, else the date of its last change, else nothing. */
export function versionOf(headers: IncomingHttpHeaders): string | undefined {
  if (headers.etag !== undefined && headers.etag !== '') return headers.etag;
  const date = headers['last-modified'];
  return date === undefined ? undefined : LAST_MODIFIED + date;
}

/**
 * Headers that make a server answer 412 once the content has changed. Only a strong ETag will do: a weak one
 * never matches in If-Match (RFC 9110 §13.1.1), and servers that keep fractions of a second (versitygw 1.8)
 * fail If-Unmodified-Since with the very date that they sent. There `readRangeAnswer` compares what came.
 */
export function preconditions(version: string | undefined): Record<string, string> {
  return version?.startsWith('"') === true ? { 'if-match': version } : {};
}

export function rangeHeader(range: ByteRange | undefined): Record<string, string> {
  return range === undefined ? {} : { range: `bytes=${range.first}-${range.last}` };
}

/**
 * Judges the head of an answer to a request for `range` of `file`.
 *
 * @throws ModelChangedError when it belongs to other content; the error of `statusError` for a failure;
 *   UnsupportedModelError for a compressed answer; ModelUnreachableError for a wrong Content-Range
 */
export function readRangeAnswer(
  answer: { status: number; headers: IncomingHttpHeaders },
  file: StoredFile,
  range: ByteRange | undefined,
  label: string,
): { kind: 'range' | 'whole'; totalBytes: number | undefined; version: string | undefined } {
  const { status, headers } = answer;
  if (status === 412) throw new ModelChangedError(`${label} has changed since it was resolved`);
  if (status === 416 && range !== undefined && range.last > 0) {
    throw new ModelChangedError(`${label} has become shorter than ${range.last + 1} bytes`);
  }
  if (status !== 200 && status !== 206) throw statusError(status, headers, label);
  const encoding = headers['content-encoding'];
  if (encoding !== undefined && encoding !== '' && encoding !== 'identity') {
    throw new UnsupportedModelError(
      `${label} is sent with content-encoding ${encoding}; expected the plain bytes`,
    );
  }
  const version = versionOf(headers);
  if (file.version !== undefined && version !== undefined && differs(file.version, version)) {
    throw new ModelChangedError(
      `${label} has changed: expected ${file.version}, the server now has ${version}`,
    );
  }
  if (status === 200) return { kind: 'whole', totalBytes: wholeLength(headers, file, label), version };
  const part = contentRange(headers['content-range']);
  if (range === undefined || part === undefined || part.first !== range.first || part.last > range.last) {
    throw new ModelUnreachableError(
      `${label}: asked for bytes ${range?.first}-${range?.last}, the server sent ${headers['content-range'] ?? 'a part without Content-Range'}`,
    );
  }
  checkTotal(part.total, file, label);
  return { kind: 'range', totalBytes: part.total, version };
}

function wholeLength(headers: IncomingHttpHeaders, file: StoredFile, label: string): number | undefined {
  const length = headers['content-length'];
  if (length === undefined || !/^\d{1,15}$/.test(length)) return undefined;
  checkTotal(Number(length), file, label);
  return Number(length);
}

function checkTotal(total: number | undefined, file: StoredFile, label: string): void {
  if (total !== undefined && file.sizeBytes !== undefined && total !== file.sizeBytes) {
    throw new ModelChangedError(`${label} has changed: it had ${file.sizeBytes} bytes, now it has ${total}`);
  }
}

/** Two versions of one kind that are not the same; the weak and the strong form of an ETag are. */
function differs(expected: string, found: string): boolean {
  if (expected.startsWith(LAST_MODIFIED) !== found.startsWith(LAST_MODIFIED)) return false;
  // Made up here for servers that offer none: nothing to compare.
  if (expected.startsWith('unversioned:')) return false;
  return expected.replace(/^W\//, '') !== found.replace(/^W\//, '');
}

/** `bytes 0-99/1000`; the total is undefined for `*`. */
export function contentRange(
  text: string | undefined,
): { first: number; last: number; total: number | undefined } | undefined {
  const match = /^bytes (\d{1,15})-(\d{1,15})\/(\d{1,15}|\*)$/i.exec(text ?? '');
  if (match === null) return undefined;
  const [first, last, total] = [Number(match[1]), Number(match[2]), match[3]];
  if (first > last) return undefined;
  return { first, last, total: total === '*' ? undefined : Number(total) };
}

/** Seconds from a Retry-After header, which holds seconds or a date; undefined without one. */
export function retryAfterSeconds(value: string | undefined, nowMs: number): number | undefined {
  if (value === undefined) return undefined;
  if (/^\d{1,9}$/.test(value)) return Number(value);
  const date = Date.parse(value);
  return Number.isNaN(date) ? undefined : Math.max(0, (date - nowMs) / 1000);
}

/** A status that is no success, as the error that says what it means for a model. `detail` is the store's own word. */
export function statusError(
  status: number,
  headers: IncomingHttpHeaders,
  label: string,
  detail = '',
): PilotlightError {
  const said = `${status}${detail === '' ? '' : ` ${detail}`}`;
  if (status === 404 || status === 410) return new ModelNotFoundError(`${label} does not exist (${said})`);
  if (status === 401 || status === 403 || status === 407) {
    return new ModelForbiddenError(`${label}: no permission to read it (${said}); check its credentials`);
  }
  if (status === 408 || status === 425 || status === 429 || status >= 500) {
    const wait = retryAfterSeconds(headers['retry-after'], Date.now());
    return new ModelUnreachableError(
      `${label}: the server answers ${said}`,
      wait === undefined ? {} : { retryAfterSeconds: wait },
    );
  }
  return new ModelUnreachableError(`${label}: the server answers ${said}`, { retryable: false });
}
