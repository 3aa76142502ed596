import type { FastifyInstance } from 'fastify';
import type { Registry } from 'prom-client';
import type { ApiState } from './api-state.ts';

export const HEALTH_PATHS = ['GET /metrics', 'GET /healthz', 'GET /readyz'];

/**
 * Health and metrics. Ready is who may be asked: a leader that knows what exists, and any follower, since it says
 * who leads.
 */
export function addHealthRoutes(app: FastifyInstance, registry: Registry, state: () => ApiState): void {
  app.get('/healthz', () => ({ status: 'ok' }));
  app.get('/readyz', (_request, reply) => {
    const now = state();
    const isReady = now.role === 'following' || now.controller.isReady;
    void reply.code(isReady ? 200 : 503);
    return { status: isReady ? 'ok' : 'not ready: what exists is still being read' };
  });
  app.get('/metrics', async (_request, reply) => {
    const text = await registry.metrics();
    return reply.type(registry.contentType).send(text);
  });
}
