import type { Server as HttpsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
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
import { type ApiState, leadingController, NotLeaderError } from './api-state.ts';
import { addConsoleRoutes } from './console-routes.ts';
import { addHealthRoutes, HEALTH_PATHS } from './health-routes.ts';
import { addIntakeRoutes } from './intake-routes.ts';
import { addRoutesStream, type StreamLimits } from './routes-stream.ts';
import { readCertificate, type TlsFiles } from './tls-files.ts';

export interface ApiOptions {
  /** To begin with; see `setState`. */
  state: ApiState;
  logger: Logger;
  registry: Registry;
  host: string;
  /** 0 takes any free port. */
  port: number;
  /** Where health and metrics are, in plain HTTP: a port of their own, or absent, beside the rest. */
  healthPort?: number;
  /** Serves over TLS, and takes up what the files hold when they change. Absent: plain HTTP. */
  tls?: TlsFiles;
  /** Whether a bearer token is that of an activator. Rejects where nobody can say now. */
  isActivator: (token: string) => boolean | Promise<boolean>;
  /** Needed to read the JSON endpoints when it is set. */
  readToken?: string;
  streamLimits?: Partial<StreamLimits>;
}

export interface Api {
  /** The port that was really taken. */
  readonly port: number;
  /** The port that was really taken for health and metrics, where they have one of their own. */
  readonly healthPort: number | undefined;
  /** The lead changed: streams of a controller that leads no more end, and their readers go to who does. */
  setState(state: ApiState): void;
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
];

/**
 * Opens the controller's HTTP API: the routes stream, the intake of demand and stats, and what people and
 * consoles read.
 *
 * @throws Error with code EADDRINUSE or EACCES when a port can't be had, ENOENT for a missing TLS file.
 */
export async function openApi(options: ApiOptions): Promise<Api> {
  const { logger, registry, host, healthPort } = options;
  let { state } = options;
  const leading = (): Controller => leadingController(state);
  const certificate = options.tls && readCertificate(options.tls, logger);
  const app = createApp(logger, certificate && { cert: certificate.cert, key: certificate.key });
  const hasOwnHealth = healthPort !== undefined;
  answerUnknown(app, hasOwnHealth ? PATHS : [...PATHS, ...HEALTH_PATHS]);
  // Before a body is read.
  app.addHook('onRequest', (request, _reply, done) => {
    const { url = '' } = request.routeOptions;
    const isForLeader = url.startsWith('/v1/') || url.startsWith('/api/');
    done(isForLeader && state.role === 'following' ? new NotLeaderError(state.leaderUrl) : undefined);
  });
  const endStreams = addRoutesStream(app, { ...options, leading, limits: options.streamLimits ?? {} });
  addIntakeRoutes(app, { ...options, leading });
  addConsoleRoutes(app, { ...options, leading });
  const health = hasOwnHealth ? createApp(logger, undefined) : app;
  if (hasOwnHealth) answerUnknown(health, HEALTH_PATHS);
  addHealthRoutes(health, registry, () => state);
  await app.listen({ host, port: options.port });
  const stopLooking = certificate?.keepFresh(app.server as unknown as HttpsServer);
  const close = async (): Promise<void> => {
    stopLooking?.();
    endStreams();
    await Promise.all(hasOwnHealth ? [app.close(), health.close()] : [app.close()]);
  };
  try {
    if (hasOwnHealth) await health.listen({ host, port: healthPort });
  } catch (error) {
    await close();
    throw error;
  }
  return {
    port: portOf(app),
    healthPort: hasOwnHealth ? portOf(health) : undefined,
    setState: (next) => {
      const hasOther =
        next.role === 'following' || state.role === 'following' || next.controller !== state.controller;
      state = next;
      if (hasOther) endStreams();
    },
    close,
  };
}

function createApp(logger: Logger, https: { cert: string; key: string } | undefined): FastifyInstance {
  const app = Fastify({
    ...(https && { https }),
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
    if (error instanceof NotLeaderError) {
      if (error.leaderUrl !== undefined) void reply.header(HEADERS.leader, error.leaderUrl);
    } else if (known.status >= 500) logger.error({ err: error }, 'a request to the API failed');
    void reply.code(known.status).header(HEADERS.error, known.code).send({ error: known.message });
  });
  return app;
}

function answerUnknown(app: FastifyInstance, paths: readonly string[]): void {
  app.setNotFoundHandler((request, reply) => {
    const message = `no such path: ${request.method} ${request.url.slice(0, 200)}; there are ${paths.join(', ')}`;
    void reply.code(404).header(HEADERS.error, 'not-found').send({ error: message });
  });
}

function portOf(app: FastifyInstance): number {
  return (app.server.address() as AddressInfo).port;
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
