/**
 * Fields that may stand once in a message. HTTP/2 streams of Node throw at a second one, and two hops that read
 * different ones of two `authorization` fields would be two opinions about who is calling.
 */
const SINGLE_VALUED = new Set([
  'access-control-allow-credentials',
  'access-control-max-age',
  'access-control-request-method',
  'age',
  'authorization',
  'content-encoding',
  'content-language',
  'content-length',
  'content-location',
  'content-md5',
  'content-range',
  'content-type',
  'date',
  'dnt',
  'etag',
  'expires',
  'from',
  'host',
  'if-match',
  'if-modified-since',
  'if-none-match',
  'if-range',
  'if-unmodified-since',
  'last-modified',
  'location',
  'max-forwards',
  'proxy-authorization',
  'range',
  'referer',
  'retry-after',
  'tk',
  'upgrade-insecure-requests',
  'user-agent',
  'x-content-type-options',
]);

/** Name of a field that stands in `fields` (names and values in turn) more often than it may. */
export function repeatedField(fields: readonly string[]): string | undefined {
  const found = new Set<string>();
  for (let index = 0; index < fields.length; index += 2) {
    const name = (fields[index] ?? '').toLowerCase();
    if (!SINGLE_VALUED.has(name)) continue;
    if (found.has(name)) return name;
    found.add(name);
  }
  return undefined;
}

/** The fields without the repeats of those that may stand once: the first one counts. */
export function withoutRepeats(fields: readonly string[]): readonly string[] {
  if (repeatedField(fields) === undefined) return fields;
  const found = new Set<string>();
  const kept: string[] = [];
  for (let index = 0; index < fields.length; index += 2) {
    const name = (fields[index] ?? '').toLowerCase();
    if (SINGLE_VALUED.has(name) && found.has(name)) continue;
    found.add(name);
    kept.push(fields[index] ?? '', fields[index + 1] ?? '');
  }
  return kept;
}
