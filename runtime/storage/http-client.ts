import { lookup as dnsLookup } from 'node:dns';
import type { IncomingHttpHeaders, IncomingMessage } from 'node:http';
import type { LookupFunction } from 'node:net';
import { pipeline, type Readable } from 'node:stream';
import { ModelUnreachableError, systemCode } from './errors.ts';

// Not imported: an ES import of node:http reads all its exports, WebSocket among them, and that loads undici.
const { Agent: HttpAgent, request: httpRequest } = process.getBuiltinModule('node:http');
const { Agent: HttpsAgent, request: httpsRequest } = process.getBuiltinModule('node:https');

/** A request to one server and no other, whatever that answers. */
export interface HttpRequest {
  url: URL;
  headers: Record<string, string>;
  /** GET when absent. */
  method?: 'GET' | 'POST' | 'PUT' | 'DELETE';
  /** Of a stream the headers say the length. */
  body?: string | Readable;
  signal: AbortSignal;
  connectTimeoutMs: number;
  idleTimeoutMs: number;
  /** False accepts any certificate. */
  verifyTls?: boolean;
  /** For messages. */
  label: string;
}

/** `headers` are sent wherever a redirect leads. */
export interface HttpGet extends Omit<HttpRequest, 'method' | 'body'> {
  /** Sent to the first origin only. */
  secretHeaders?: Record<string, string>;
  /** Most redirects to follow; at 0 the redirect itself is the answer. */
  redirects: number;
}

export interface HttpAnswer {
  status: number;
  headers: IncomingHttpHeaders;
  /** Must be consumed or destroyed. */
  body: IncomingMessage;
}

/** RFC 6761 §6.3: names below localhost are this machine, which not every resolver knows (bucket.localhost). */
const lookup: LookupFunction = (hostname, options, callback) => {
  dnsLookup(/(?:^|\.)localhost$/i.test(hostname) ? 'localhost' : hostname, options, callback);
};

const POOL = { keepAlive: true, maxFreeSockets: 8, lookup };
/** As Node's global agent: a proxy only where NODE_USE_ENV_PROXY asks for it. */
const PROXY = process.env['NODE_USE_ENV_PROXY'] === '1' ? { proxyEnv: process.env } : {};
const httpAgent = new HttpAgent({ ...POOL, ...PROXY });
const httpsAgent = new HttpsAgent({ ...POOL, ...PROXY });
const unverifiedAgent = new HttpsAgent({ ...POOL, ...PROXY, rejectUnauthorized: false });

/**
 * One GET with a bound on everything: connecting, silence, redirects. Statuses are answers, not errors.
 *
 * @throws ModelUnreachableError (not retryable for TLS and redirect faults); the signal's reason when aborted
 */
export async function httpGet(get: HttpGet): Promise<HttpAnswer> {
  let url = get.url;
  let headers = { ...get.headers, ...get.secretHeaders };
  for (let followed = 0; ; followed += 1) {
    const answer = await httpRequestOnce({ ...get, url, headers });
    const location = answer.headers.location;
    if (get.redirects === 0 || location === undefined || ![301, 302, 303, 307, 308].includes(answer.status)) {
      return answer;
    }
    answer.body.destroy();
    if (followed >= get.redirects) {
      throw new ModelUnreachableError(`${get.label}: more than ${get.redirects} redirects`, {
        retryable: false,
      });
    }
    const next = URL.parse(location, url);
    if (next === null || (next.protocol !== 'http:' && next.protocol !== 'https:')) {
      throw new ModelUnreachableError(`${get.label} redirects to something that is no URL`, {
        retryable: false,
      });
    }
    if (url.protocol === 'https:' && next.protocol === 'http:') {
      throw new ModelUnreachableError(`${get.label} redirects from https to http`, { retryable: false });
    }
    if (next.origin !== url.origin) headers = { ...get.headers };
    url = next;
  }
}

/**
 * One request, with a bound on connecting and silence. Statuses are answers, not errors.
 *
 * @throws ModelUnreachableError (not retryable for TLS faults); the signal's reason when aborted
 */
export function httpRequestOnce(get: HttpRequest): Promise<HttpAnswer> {
  const { url, headers } = get;
  const { promise, resolve, reject } = Promise.withResolvers<HttpAnswer>();
  const secure = url.protocol === 'https:';
  const plainOrSecure = secure ? httpsRequest : httpRequest;
  const agent = secure ? (get.verifyTls === false ? unverifiedAgent : httpsAgent) : httpAgent;
  const request = plainOrSecure(url, {
    method: get.method ?? 'GET',
    agent,
    headers: { 'user-agent': 'pilotlight', ...headers, 'accept-encoding': 'identity' },
    signal: get.signal,
  });
  let answerBody: IncomingMessage | undefined;
  const connectTimer = setTimeout(() => {
    const why = `${get.label}: no connection to ${url.host} within ${get.connectTimeoutMs} ms`;
    request.destroy(new ModelUnreachableError(why));
  }, get.connectTimeoutMs);
  request.once('socket', (socket) => {
    const connected = () => clearTimeout(connectTimer);
    if (request.reusedSocket) connected();
    else socket.once(secure ? 'secureConnect' : 'connect', connected);
  });
  request.setTimeout(get.idleTimeoutMs, () => {
    const error = new ModelUnreachableError(
      `${get.label}: ${url.host} was silent for ${get.idleTimeoutMs} ms`,
    );
    if (answerBody === undefined) request.destroy(error);
    else answerBody.destroy(error);
  });
  request.once('response', (body) => {
    clearTimeout(connectTimer);
    answerBody = body;
    resolve({ status: body.statusCode ?? 0, headers: body.headers, body });
  });
  // Stays for the life of the request: a reset after the answer has begun is reported by the body as well.
  request.on('error', (error) => {
    clearTimeout(connectTimer);
    reject(get.signal.aborted ? abortReason(get.signal) : networkError(error, url.host, get.label));
  });
  if (get.body === undefined || typeof get.body === 'string') request.end(get.body);
  else pipeline(get.body, request, () => undefined);
  return promise;
}

function abortReason(signal: AbortSignal): Error {
  return signal.reason instanceof Error ? signal.reason : new Error('aborted', { cause: signal.reason });
}

const TLS = /^(?:CERT_|ERR_TLS_|ERR_SSL_|EPROTO$|DEPTH_ZERO|SELF_SIGNED|UNABLE_TO_|HOSTNAME_MISMATCH)/;

/** A failure of the network below HTTP, in words. Anything but TLS may pass by itself. */
export function networkError(thrown: unknown, host: string, label: string): Error {
  if (thrown instanceof ModelUnreachableError) return thrown;
  const code = systemCode(thrown) ?? '';
  const cause = { cause: thrown };
  if (TLS.test(code)) {
    return new ModelUnreachableError(
      `${label}: TLS with ${host} failed (${code}); a private authority is added with NODE_EXTRA_CA_CERTS`,
      { ...cause, retryable: false },
    );
  }
  if (code === 'ENOTFOUND' || code === 'EAI_AGAIN') {
    return new ModelUnreachableError(`${label}: the name ${host} cannot be resolved (${code})`, cause);
  }
  if (code === 'ECONNREFUSED')
    return new ModelUnreachableError(`${label}: ${host} refuses connections`, cause);
  const what = code === '' && thrown instanceof Error ? thrown.message : code;
  return new ModelUnreachableError(`${label}: the connection to ${host} broke (${what})`, cause);
}

/** A small body as text. @throws ModelUnreachableError when it is longer than `maxBytes` */
export async function readText(body: IncomingMessage, maxBytes: number, label: string): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  try {
    for await (const chunk of body) {
      if (!Buffer.isBuffer(chunk)) continue;
      size += chunk.length;
      if (size > maxBytes) {
        throw new ModelUnreachableError(`${label}: an answer is longer than ${maxBytes} bytes`, {
          retryable: false,
        });
      }
      chunks.push(chunk);
    }
  } catch (error) {
    throw networkError(error, 'the server', label);
  }
  return Buffer.concat(chunks).toString('utf8');
}
