import { lookup as systemLookup } from 'node:dns';
import type { LookupFunction } from 'node:net';
import { Agent, type RequestInit as AgentRequestInit, fetch as agentFetch, request } from 'undici';
import { CommandFailure, messageOf, UsageMistake } from './failure.ts';

export interface HttpAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: Buffer;
  /** From the call to the last byte of the answer. */
  readonly durationMs: number;
}

export interface HttpCall {
  readonly method: 'GET' | 'POST';
  readonly url: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Uint8Array;
  readonly timeoutMs: number;
  /** What a person can do when nothing answers there. */
  readonly hint: string;
}

const CONNECT_TIMEOUT_MS = 5_000;

/** Names below `localhost` are this machine (RFC 6761 §6.3), which not every system's resolver knows. */
const lookup: LookupFunction = (host, options, callback) => {
  systemLookup(host.endsWith('.localhost') ? 'localhost' : host, options, callback);
};

let agent: Agent | undefined;

/**
 * One HTTP call.
 *
 * @throws CommandFailure when nothing answers, with the reason and the hint.
 */
export async function call({ url, hint, timeoutMs, ...options }: HttpCall): Promise<HttpAnswer> {
  const fromMs = performance.now();
  try {
    const { statusCode, headers, body } = await request(url, {
      method: options.method,
      headers: options.headers ?? {},
      body: options.body ?? null,
      dispatcher: connections(),
      signal: AbortSignal.timeout(timeoutMs),
    });
    const bytes = Buffer.from(await body.arrayBuffer());
    return { status: statusCode, headers, body: bytes, durationMs: performance.now() - fromMs };
  } catch (error) {
    throw noAnswer(url, error, { timeoutMs, hint });
  }
}

function connections(): Agent {
  agent ??= new Agent({
    connect: { lookup, timeout: CONNECT_TIMEOUT_MS },
    headersTimeout: 0,
    bodyTimeout: 0,
    keepAliveTimeout: 1_000,
  });
  return agent;
}

/** `fetch` over the same connections, for the client of the protocol. */
export function fetchOverAgent(url: string, init: RequestInit): Promise<Response> {
  const options = { ...init, dispatcher: connections() } as AgentRequestInit;
  return agentFetch(url, options);
}

/** What a person is told when nothing answers. */
export function noAnswer(
  url: string,
  error: unknown,
  { timeoutMs, hint }: Pick<HttpCall, 'timeoutMs' | 'hint'>,
): CommandFailure {
  return new CommandFailure(`${new URL(url).origin}: ${reasonOf(error, timeoutMs)}; ${hint}`);
}

/** Closes idle connections, so that the process ends at once. */
export async function closeConnections(): Promise<void> {
  await agent?.destroy();
  agent = undefined;
}

const REASONS: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'nothing answers there',
  ENOTFOUND: 'this host is not known',
  EAI_AGAIN: 'this host could not be looked up',
  ECONNRESET: 'the connection broke',
  UND_ERR_SOCKET: 'the connection broke',
  UND_ERR_CONNECT_TIMEOUT: `no connection within ${CONNECT_TIMEOUT_MS / 1000} s`,
  EHOSTUNREACH: 'no way leads there',
  ENETUNREACH: 'no way leads there',
};

function reasonOf(thrown: unknown, timeoutMs: number): string {
  const { code, name, errors } = thrown as { code?: string; name?: string; errors?: unknown[] };
  if (name === 'TimeoutError') return `no answer within ${timeoutMs / 1000} s`;
  // Node tries every address of a name; all of them failed.
  if (code === undefined && errors?.[0] !== undefined) return reasonOf(errors[0], timeoutMs);
  return REASONS[code ?? ''] ?? messageOf(thrown);
}

/** A URL of an option without the slash at its end. */
export function baseUrl(option: string, text: string): string {
  const url = URL.parse(text);
  if (url === null || !['http:', 'https:'].includes(url.protocol)) {
    throw new UsageMistake(`${option}: expected a URL such as http://127.0.0.1:8080, got "${text}"`);
  }
  return url.href.replace(/\/+$/, '');
}

/** The value of a header that comes once. */
export const headerOf = (answer: HttpAnswer, name: string): string | undefined => {
  const value = answer.headers[name];
  return Array.isArray(value) ? value.join(', ') : value;
};
