import type { HttpAccess } from '../contracts/storage-access.ts';
import type { Parsed } from './durations.ts';

const HEADER_NAME = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;
/** They are ours to say, or not a header of one request alone. */
const NOT_ALLOWED = new Set([
  'host',
  'range',
  'if-match',
  'connection',
  'content-length',
  'transfer-encoding',
]);

/** Whether a Secret is about this host: its key `https-host`, as KServe has it, with or without the port. */
export function isOfHost(httpsHost: string | undefined, url: URL): boolean {
  const named = httpsHost?.trim().toLowerCase();
  return named === url.hostname || named === url.host;
}

/**
 * Headers from the key `headers` of such a Secret, a JSON object. Messages show no value.
 *
 * @param where Names the place in messages.
 */
export function readHttpHeaders(json: string, where: string): Parsed<HttpAccess> {
  let parsed: unknown;
  try {
    parsed = JSON.parse(json);
  } catch {
    // The parser's own message would quote the text.
    parsed = undefined;
  }
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed)) {
    return { ok: false, message: `expected a JSON object of header names and values under ${where}` };
  }
  const headers: Record<string, string> = {};
  for (const [name, value] of Object.entries(parsed)) {
    if (!HEADER_NAME.test(name) || NOT_ALLOWED.has(name.toLowerCase())) {
      return { ok: false, message: `"${name.slice(0, 40)}" can't be given as a header, under ${where}` };
    }
    // Latin-1 without control characters is all that HTTP takes.
    if (typeof value !== 'string' || !/^[\t\u0020-\u007e\u0080-\u00ff]*$/.test(value)) {
      return { ok: false, message: `expected plain text as value of header "${name}", under ${where}` };
    }
    headers[name.toLowerCase()] = value;
  }
  return { ok: true, value: { headers } };
}
