import { createHash, timingSafeEqual } from 'node:crypto';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { SpecialiseRequest } from '../../contracts/admin.ts';
import { type ErrorCode, PilotlightError, toPilotlightError } from '../../contracts/errors.ts';
import { HEADERS } from '../../contracts/headers.ts';
import { toJsonLine } from '../../contracts/json-lines.ts';
import { open, SealingError, type SealingKeys } from '../../contracts/sealing.ts';
import type { Logger } from '../../process/logger.ts';
import { isLast } from '../lifecycle/event-log.ts';
import type { Lifecycle } from '../lifecycle/lifecycle.ts';

/** What the admin port needs beyond the life cycle; loaded when first wanted, or before. */
export interface AdminParts {
  contracts: () => Promise<typeof import('../../contracts/admin.ts')>;
  cachedModels: () => Promise<string[]>;
  /** Of this process: what is sealed for them nobody else can read. */
  sealing: SealingKeys;
  metrics: () => Promise<{ contentType: string; text: string }>;
  /** Replaces the process; called once the answer is on its way. */
  recycle: () => void;
}

/** Looks at a bearer token. Undefined: it may use the admin port; otherwise why not, for the caller. */
export type AdminGuard = (token: string) => string | undefined;

export interface AdminServer {
  readonly port: number;
  close(): void;
}

const MAX_BODY_BYTES = 1024 * 1024;
const BODY_TIMEOUT_MS = 10_000;

/**
 * Opens the admin port (contracts/admin.ts). It belongs to the controller: everything but `/metrics` wants a
 * bearer token that the guard lets in.
 *
 * @throws Error with code EADDRINUSE or EACCES when the port can't be had.
 */
export async function openAdminServer(
  address: { host: string; port: number },
  guard: AdminGuard,
  lifecycle: Lifecycle,
  parts: AdminParts,
  logger: Logger,
): Promise<AdminServer> {
  // Not imported: an ES import of node:http reads each of its exports, WebSocket among them, and that loads
  // undici: 20 ms and 6 MB.
  const { createServer } = process.getBuiltinModule('node:http');
  const server: Server = createServer(
    { headersTimeout: BODY_TIMEOUT_MS, requestTimeout: BODY_TIMEOUT_MS, keepAliveTimeout: 65_000 },
    (request, response) => {
      answer(request, response).catch((thrown: unknown) => {
        const error = toPilotlightError(thrown);
        if (error.code === 'internal') logger.error({ err: thrown, path: request.url }, 'admin call failed');
        refuse(response, error);
      });
    },
  );
  server.maxConnections = 256;

  const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const path = (request.url ?? '').split('?')[0];
    if (path === '/metrics' && request.method === 'GET') {
      const { contentType, text } = await parts.metrics();
      response.writeHead(200, { 'content-type': contentType }).end(text);
      return;
    }
    const objection = guard(bearerToken(request));
    if (objection !== undefined) throw new PilotlightError('unauthorized', objection);
    const handler = HANDLERS[path ?? ''];
    if (handler === undefined) throw new PilotlightError('not-found', `there is no admin path '${path}'`);
    const [method, handle] = handler;
    if (request.method !== method) {
      throw new PilotlightError(
        'method-not-allowed',
        `expected ${method} for ${path}, got ${request.method}`,
      );
    }
    await handle(request, response, lifecycle, parts);
  };

  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen({ host: address.host, port: address.port }, () => {
      server.off('error', reject);
      resolve();
    });
  });
  return {
    port: (server.address() as AddressInfo).port,
    close: () => {
      server.close();
      server.closeAllConnections();
    },
  };
}

/** Lets in one token that both sides know: the local platform. */
export function sharedTokenGuard(expected: string): AdminGuard {
  const digest = (token: string): Buffer => createHash('sha256').update(token).digest();
  const expectedDigest = digest(expected);
  // Digests are compared, so that neither the length nor the content of the token shows in the time it takes.
  return (token) =>
    timingSafeEqual(digest(token), expectedDigest)
      ? undefined
      : 'the token is not the admin token of this runtime';
}

type Handler = (
  request: IncomingMessage,
  response: ServerResponse,
  lifecycle: Lifecycle,
  parts: AdminParts,
) => Promise<void>;

const HANDLERS: Readonly<Record<string, readonly [string, Handler] | undefined>> = {
  '/admin/state': [
    'GET',
    async (_request, response, lifecycle, parts) => {
      const cachedModels = await parts.cachedModels();
      json(response, 200, { ...lifecycle.state(), sealingKey: parts.sealing.publicKey, cachedModels });
    },
  ],
  '/admin/specialise': [
    'POST',
    async (request, response, lifecycle, parts) => {
      const [body, contracts] = await Promise.all([readJson(request), parts.contracts()]);
      const order = parse(contracts.specialiseRequestSchema, body);
      const events = lifecycle.specialise({ ...order, model: opened(order, parts.sealing, contracts) });
      response.writeHead(200, { 'content-type': 'application/x-ndjson' });
      const unsubscribe = events.subscribe((event) => {
        response.write(toJsonLine(event));
        // Not `events.ended`: a log that is told again from its start has ended before its first line.
        if (isLast(event)) response.end();
      });
      // The load goes on without its listener.
      response.once('close', unsubscribe);
    },
  ],
  '/admin/drain': [
    'POST',
    async (request, response, lifecycle, parts) => {
      const [body, { claimRequestSchema }] = await Promise.all([readJson(request), parts.contracts()]);
      const drained = await lifecycle.drain(parse(claimRequestSchema, body));
      json(response, 200, { drained });
    },
  ],
  '/admin/callers': [
    'POST',
    async (request, response, lifecycle, parts) => {
      const [body, { callersRequestSchema }] = await Promise.all([readJson(request), parts.contracts()]);
      lifecycle.callers(parse(callersRequestSchema, body));
      json(response, 200, {});
    },
  ],
  '/admin/recycle': [
    'POST',
    async (request, response, lifecycle, parts) => {
      const [body, { claimRequestSchema }] = await Promise.all([readJson(request), parts.contracts()]);
      lifecycle.allowRecycle(parse(claimRequestSchema, body));
      // The caller learns of the recycle by this answer, so it goes out first; its connection ends with the process.
      response.once('close', parts.recycle);
      response.writeHead(202, { connection: 'close', 'content-type': 'application/json' });
      response.end('{"recycling":true}');
    },
  ],
};

type Contracts = Awaited<ReturnType<AdminParts['contracts']>>;

/** The model of a claim with its access in the clear. @throws PilotlightError `invalid-request`. */
function opened(
  { claimId, model }: SpecialiseRequest,
  keys: SealingKeys,
  { storageAccessSchema }: Contracts,
): SpecialiseRequest['model'] {
  const { sealedAccess, ...rest } = model;
  if (sealedAccess === undefined) return rest;
  try {
    return { ...rest, access: storageAccessSchema.parse(JSON.parse(open(sealedAccess, keys, claimId))) };
  } catch (error) {
    // Nothing of what was in it may be shown.
    const why = error instanceof SealingError ? error.message : 'it holds no access to a store';
    throw new PilotlightError('invalid-request', `the sealed access of the model: ${why}`);
  }
}

function parse<Value>(
  schema: {
    safeParse: (body: unknown) => { success: boolean; data?: Value; error?: { issues: readonly Issue[] } };
  },
  body: unknown,
): Value {
  const parsed = schema.safeParse(body);
  if (parsed.success && parsed.data !== undefined) return parsed.data;
  const issues = parsed.error?.issues ?? [];
  const shown = issues
    .slice(0, 5)
    .map(({ path, message }) => `${path.map(String).join('.') || 'body'}: ${message}`);
  throw new PilotlightError('invalid-request', `the body does not fit: ${shown.join('; ')}`);
}

interface Issue {
  readonly path: readonly PropertyKey[];
  readonly message: string;
}

async function readJson(request: IncomingMessage): Promise<unknown> {
  const chunks: Buffer[] = [];
  let sizeBytes = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    sizeBytes += chunk.length;
    if (sizeBytes > MAX_BODY_BYTES) {
      throw new PilotlightError('body-too-large', `expected a body of at most ${MAX_BODY_BYTES} bytes`);
    }
    chunks.push(chunk);
  }
  try {
    return JSON.parse(Buffer.concat(chunks).toString('utf8')) as unknown;
  } catch (error) {
    throw new PilotlightError('invalid-request', `the body is not JSON: ${String(error)}`, { cause: error });
  }
}

/** @throws PilotlightError `unauthorized` when there is none. */
function bearerToken(request: IncomingMessage): string {
  const token = /^Bearer (.+)$/i.exec(request.headers.authorization ?? '')?.[1];
  if (token !== undefined) return token;
  throw new PilotlightError('unauthorized', 'expected the header "Authorization: Bearer <admin token>"');
}

function json(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
}

function refuse(response: ServerResponse, error: PilotlightError): void {
  if (response.headersSent) {
    response.destroy();
    return;
  }
  const code: ErrorCode = error.code;
  response.writeHead(error.status, {
    'content-type': 'application/json',
    [HEADERS.error]: code,
    // What is left of a body that was refused is not read.
    ...(error.code === 'body-too-large' ? { connection: 'close' } : {}),
  });
  response.end(JSON.stringify({ error: error.message }));
}
