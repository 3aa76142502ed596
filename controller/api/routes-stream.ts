import type { ServerResponse } from 'node:http';
import type { FastifyInstance } from 'fastify';
import { z } from 'zod';
import { PilotlightError } from '../../contracts/errors.ts';
import { toJsonLine } from '../../contracts/json-lines.ts';
import { ROUTES_HEARTBEAT_MS, ROUTES_PATH, type RoutesMessage } from '../../contracts/routes.ts';
import type { Logger } from '../../process/logger.ts';
import type { Controller } from '../engine/create-controller.ts';
import { bearerToken, unauthorized } from './bearer.ts';

export interface StreamLimits {
  /** Bytes that may wait for one reader beyond its snapshot; more and it is dropped. */
  maxBufferedBytes: number;
  /** A reader that has taken nothing for this long is dropped. */
  stallMs: number;
  maxReaders: number;
}

/** Room for a burst of thousands of changes; an activator that is dropped comes back and resumes. */
const DEFAULT_LIMITS: StreamLimits = {
  maxBufferedBytes: 16 * 1024 * 1024,
  stallMs: 10_000,
  maxReaders: 1_000,
};

const querySchema = z.object({
  stream: z.string().max(100).optional(),
  after: z.coerce.number().int().nonnegative().optional(),
  activator: z.string().min(1).max(200).optional(),
  pod: z.string().min(1).max(253).optional(),
});

interface StreamOptions {
  /** @throws NotLeaderError when it isn't this one. */
  leading: () => Controller;
  logger: Logger;
  isActivator: (token: string) => boolean | Promise<boolean>;
  limits: Partial<StreamLimits>;
}

/**
 * `GET /v1/routes`: what an activator lacks, then each change as it happens, one JSON line each.
 * @returns a function that ends all streams.
 */
export function addRoutesStream(app: FastifyInstance, options: StreamOptions): () => void {
  const { leading, logger, isActivator } = options;
  const limits = { ...DEFAULT_LIMITS, ...options.limits };
  const readers = new Set<ServerResponse>();
  app.get(ROUTES_PATH, async (request, reply) => {
    if (!(await isActivator(bearerToken(request, 'token of an activator')))) {
      throw unauthorized('the token is not that of an activator');
    }
    const query = querySchema.safeParse(request.query);
    if (!query.success) {
      throw new PilotlightError(
        'invalid-request',
        `expected ?stream=<id>&after=<number>&activator=<id>&pod=<name>: ${z.prettifyError(query.error)}`,
      );
    }
    // After the wait for the verdict: the lead may have changed meanwhile.
    const controller = leading();
    if (!controller.isReady) {
      throw new PilotlightError('not-ready', 'the routes are not known yet, try again', {
        retryAfterSeconds: 1,
      });
    }
    if (readers.size >= limits.maxReaders) {
      throw new PilotlightError('server-busy', `there are ${readers.size} readers of routes already`);
    }
    reply.hijack();
    const { raw } = reply;
    readers.add(raw);
    raw.once('close', () => readers.delete(raw));
    const { stream: known, after, activator, pod } = query.data;
    const resume = { stream: known, after };
    const who = activator === undefined ? undefined : { activator, pod };
    stream(raw, controller, limits, { resume, who }, (why) => {
      logger.warn({ reader: request.ip, reason: why }, 'a slow reader of routes is dropped');
    });
  });
  return () => {
    for (const reader of readers) reader.destroy();
  };
}

type Resume = Parameters<Controller['subscribe']>[0];
type Who = Parameters<Controller['subscribe']>[2];

function stream(
  raw: ServerResponse,
  controller: Controller,
  limits: StreamLimits,
  reader: { resume: Resume; who: Who },
  onDropped: (why: string) => void,
): void {
  raw.writeHead(200, { 'content-type': 'application/x-ndjson', 'cache-control': 'no-store' });
  let hasCaughtUp = false;
  let snapshotBytes = 0;
  let stalledSinceMs: number | undefined;
  const drop = (why: string): void => {
    if (raw.destroyed) return;
    onDropped(why);
    raw.destroy();
  };
  const send = (message: RoutesMessage): void => {
    if (raw.destroyed) return;
    const line = toJsonLine(message);
    if (!hasCaughtUp) snapshotBytes += Buffer.byteLength(line);
    if (!raw.write(line)) stalledSinceMs ??= performance.now();
    // The snapshot is as long as it must be; what piles up behind it is bounded.
    if (raw.writableLength > snapshotBytes + limits.maxBufferedBytes) drop('too much waits for it');
  };
  raw.on('drain', () => {
    stalledSinceMs = undefined;
    snapshotBytes = 0;
  });
  raw.on('error', () => undefined);
  const unsubscribe = controller.subscribe(reader.resume, send, reader.who);
  hasCaughtUp = true;
  const beat = (): void => send({ type: 'heartbeat', number: controller.routesNumber });
  // The reader has all of it now, and counts on its routes from here on.
  beat();
  const heartbeat = setInterval(() => {
    if (stalledSinceMs !== undefined && performance.now() - stalledSinceMs > limits.stallMs) {
      drop('it takes nothing');
      return;
    }
    beat();
  }, ROUTES_HEARTBEAT_MS);
  raw.once('close', () => {
    clearInterval(heartbeat);
    unsubscribe();
  });
}
