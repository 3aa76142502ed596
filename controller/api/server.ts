import Fastify, { type FastifyInstance, LogController } from 'fastify';
import type { Registry } from 'prom-client';
import { API_PATHS } from '../../contracts/console.ts';
import { DEMAND_PATH } from '../../contracts/demand.ts';
import { type ErrorCode, PilotlightError } from '../../contracts/errors.ts';
import { HEADERS } from '../../contracts/headers.ts';
import { ROUTES_PATH } from '../../contracts/routes.ts';
import { STATS_PATH } from '../../contracts/stats.ts';
import type { Logger } from '../../process/logger.ts';
import type { Controller } from '../engine/create-controller.ts';
import { addConsoleRoutes } from './console-routes.ts';
import { addIntakeRoutes } from './intake-routes.ts';
import { addRoutesStream, type StreamLimits } from './routes-stream.ts';

export interface ApiOptions {
  controller: Controller;
  logger: Logger;
  registry: Registry;
  host: string;
  /** 0 takes any free port. */
  port: number;
  /** Whether a bearer token is that of an activator. */
  isActivator: (token: string) => boolean | Promise<boolean>;
  /** Needed to read the JSON endpoints when it is set. */
  readToken?: string;
  streamLimits?: Partial<StreamLimits>;
}

export interface Api {
  /** The port that was really taken. */
  readonly port: number;
  /** Ends the streams and stops. */
  close(): Promise<void>;
}

/** Largest body of a report: 10,000 revisions of one activator are about 2 MB. */
const BODY_LIMIT_BYTES = 8 * 1024 * 1024;

const PATHS = [
  `GET ${ROUTES_PATH}`,
  `POST ${DEMAND_PATH}`,
  `POST ${STATS_PATH}`,
  ...Object.values(API_PATHS).map((path) => `GET ${path}`),
  `GET ${API_PATHS.services}/{namespace}/{name}`,
  'GET /metrics',
  'GET /healthz',
  'GET /readyz',
];

/**
 * Opens the controller's HTTP API: the routes stream, the intake of demand and stats, and what people and
 * consoles read.
 *
 * @throws Error with code EADDRINUSE or EACCES when the port can't be had.
 */
export async function openApi(options: ApiOptions): Promise<Api> {
  const { controller, logger, registry, host, port } = options;
  const app = Fastify({
    loggerInstance: logger.child({}, { level: 'warn' }),
    logController: new LogController({ disableRequestLogging: true }),
    bodyLimit: BODY_LIMIT_BYTES,
    // Streams are open for ever; a close must not wait for them.
    forceCloseConnections: true,
    requestTimeout: 30_000,
    keepAliveTimeout: 65_000,
  }) as unknown as FastifyInstance;
  app.setErrorHandler((error: { statusCode?: number; message: string }, _request, reply) => {
    const known = asKnown(error);
    if (known.status >= 500) logger.error({ err: error }, 'a request to the API failed');
    void reply.code(known.status).header(HEADERS.error, known.code).send({ error: known.message });
  });
  app.setNotFoundHandler((request, reply) => {
    const message = `no such path: ${request.method} ${request.url.slice(0, 200)}; there are ${PATHS.join(', ')}`;
    void reply.code(404).header(HEADERS.error, 'not-found').send({ error: message });
  });
  app.get('/healthz', () => ({ status: 'ok' }));
  app.get('/readyz', (_request, reply) => {
    void reply.code(controller.isReady ? 200 : 503);
    return { status: controller.isReady ? 'ok' : 'not ready: what exists is still being read' };
  });
  app.get('/metrics', async (_request, reply) => {
    const text = await registry.metrics();
    return reply.type(registry.contentType).send(text);
  });
  const endStreams = addRoutesStream(app, { ...options, limits: options.streamLimits ?? {} });
  addIntakeRoutes(app, options);
  addConsoleRoutes(app, options);
  await app.listen({ host, port });
  const address = app.server.address();
  return {
    port: typeof address === 'object' && address !== null ? address.port : port,
    close: async () => {
      endStreams();
      await app.close();
    },
  };
}

function asKnown(error: { statusCode?: number; message: string }): {
  status: number;
  code: ErrorCode;
  message: string;
} {
  if (error instanceof PilotlightError) return error;
  const status = error.statusCode ?? 500;
  if (status === 413) {
    const message = `expected a body of at most ${BODY_LIMIT_BYTES} bytes, got a longer one`;
    return { status, code: 'body-too-large', message };
  }
  if (status >= 400 && status < 500) return { status, code: 'invalid-request', message: error.message };
  return {
    status: 500,
    code: 'internal',
    message: 'the controller failed at this request; its log says more',
  };
}
