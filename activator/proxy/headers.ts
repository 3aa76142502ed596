import { HEADERS } from '../../contracts/headers.ts';
import { badFraming } from '../core/refusals.ts';
import type { Caller } from './caller.ts';
import { repeatedField } from './single-values.ts';

/** What becomes of a header of a request or answer by its name. */
type Fate =
  | 'keep'
  | 'hop'
  | 'connection'
  | 'host'
  | 'coding'
  | 'te'
  | 'for'
  | 'proto'
  | 'forwarded-host'
  | 'ours';

const FATES: Readonly<Record<string, Fate>> = {
  connection: 'connection',
  'keep-alive': 'hop',
  'proxy-connection': 'hop',
  'proxy-authorization': 'hop',
  'proxy-authenticate': 'hop',
  'transfer-encoding': 'coding',
  'content-length': 'hop',
  upgrade: 'hop',
  'http2-settings': 'hop',
  expect: 'hop',
  te: 'te',
  host: 'host',
  'x-forwarded-for': 'for',
  'x-forwarded-proto': 'proto',
  'x-forwarded-host': 'forwarded-host',
  [HEADERS.serviceUid]: 'ours',
  [HEADERS.revision]: 'ours',
  [HEADERS.proxiedBy]: 'ours',
};

/** Names in the spellings seen, so that most need no lower-casing; bounded, since clients choose them. */
const seen = new Map<string, Fate>();
const MAX_SEEN = 2_000;

function fateOf(name: string): Fate {
  let fate = seen.get(name);
  if (fate !== undefined) return fate;
  const lower = name.toLowerCase();
  fate = Object.hasOwn(FATES, lower) ? (FATES[lower] ?? 'keep') : 'keep';
  if (seen.size >= MAX_SEEN) seen.clear();
  seen.set(name, fate);
  return fate;
}

/** Identity that the activator adds to a request. */
export interface RequestIdentity {
  serviceUid: string;
  revision: string;
  activator: string;
}

/**
 * Headers of a request as they go upstream: hop-by-hop ones left out, those named by Connection too, ours set
 * (a client's own are dropped, they would be forged), `X-Forwarded-*` appended. Framing is for the upstream.
 *
 * @throws PilotlightError bad-framing for what two hops could read differently.
 */
export function requestHeaders(caller: Caller, identity: RequestIdentity): string[] {
  const { headers } = caller;
  const kept: string[] = [];
  let forwardedFor = '';
  let forwardedProto = '';
  let forwardedHost = '';
  let hosts = 0;
  let named: Set<string> | undefined;
  const http2 = caller.protocol === 'http2';
  for (let index = 0; index < headers.length; index += 2) {
    const name = headers[index] ?? '';
    const value = headers[index + 1] ?? '';
    switch (fateOf(name)) {
      case 'keep':
        kept.push(name, value);
        break;
      case 'connection':
        named = namedBy(value, named);
        break;
      case 'host':
        hosts++;
        break;
      case 'coding':
        if (value.toLowerCase() !== 'chunked')
          throw badFraming('its Transfer-Encoding is not "chunked" alone');
        break;
      case 'te':
        // Hop-by-hop, but gRPC servers insist on it, and over HTTP/2 this is the only value there is.
        if (http2 && value === 'trailers') kept.push(name, value);
        break;
      case 'for':
        forwardedFor += `${value}, `;
        break;
      case 'proto':
        forwardedProto += `${value}, `;
        break;
      case 'forwarded-host':
        forwardedHost += `${value}, `;
        break;
      case 'hop':
      case 'ours':
        break;
    }
  }
  if (hosts > 1) throw badFraming('it has more than one Host header');
  const repeated = http2 ? repeatedField(headers) : undefined;
  if (repeated !== undefined) throw badFraming(`it has more than one "${repeated}"`);
  const result = named === undefined ? kept : without(kept, named);
  result.push(
    'x-forwarded-for',
    forwardedFor + caller.remoteAddress,
    'x-forwarded-proto',
    `${forwardedProto}http`,
    'x-forwarded-host',
    forwardedHost + caller.host,
    HEADERS.serviceUid,
    identity.serviceUid,
    HEADERS.revision,
    identity.revision,
    HEADERS.proxiedBy,
    identity.activator,
  );
  return result;
}

/**
 * Headers of an answer as they go to the client: hop-by-hop ones left out; `Content-Length` stays, as the
 * upstream's framing was checked against it.
 */
export function responseHeaders(headers: readonly string[]): string[] {
  const kept: string[] = [];
  let named: Set<string> | undefined;
  let hasLength = false;
  for (let index = 0; index < headers.length; index += 2) {
    const name = headers[index] ?? '';
    const value = headers[index + 1] ?? '';
    const fate = fateOf(name);
    if (fate === 'connection') named = namedBy(value, named);
    else if (fate === 'hop') {
      // Two of them are equal, or the parser had refused them; the client wants one.
      const isLength: boolean = !hasLength && name.toLowerCase() === 'content-length';
      if (isLength) kept.push(name, value);
      hasLength ||= isLength;
    } else if (fate !== 'coding') kept.push(name, value);
  }
  return named === undefined ? kept : without(kept, named);
}

/** Names in a Connection header but for the usual options; `undefined` where there is none of them. */
function namedBy(value: string, named: Set<string> | undefined): Set<string> | undefined {
  if (value === 'keep-alive' || value === 'close') return named;
  let names = named;
  for (const part of value.split(',')) {
    const name = part.trim().toLowerCase();
    // `Connection: host` must not take the Host away, nor the length the framing was decided by.
    if (name === '' || name === 'close' || name === 'host' || name === 'content-length') continue;
    names ??= new Set();
    names.add(name);
  }
  return names;
}

function without(fields: readonly string[], names: ReadonlySet<string>): string[] {
  const kept: string[] = [];
  for (let index = 0; index < fields.length; index += 2) {
    const name = fields[index] ?? '';
    if (!names.has(name.toLowerCase())) kept.push(name, fields[index + 1] ?? '');
  }
  return kept;
}

/** Times of a request in ms, as `Server-Timing` tells them: they add up to the whole until the first byte. */
export function serverTiming(queueMs: number, startMs: number, upstreamMs: number): string {
  return `queue;dur=${round(queueMs)}, start;dur=${round(startMs)}, upstream;dur=${round(upstreamMs)}`;
}

function round(durationMs: number): number {
  return Math.round(durationMs * 100) / 100;
}
