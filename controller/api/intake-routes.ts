import type { FastifyInstance, FastifyRequest } from 'fastify';
import { z } from 'zod';
import { DEMAND_PATH, demandReportSchema } from '../../contracts/demand.ts';
import { PilotlightError } from '../../contracts/errors.ts';
import { STATS_PATH, statsReportSchema } from '../../contracts/stats.ts';
import type { Controller } from '../engine/create-controller.ts';
import { bearerToken, unauthorized } from './bearer.ts';

interface IntakeOptions {
  /** @throws NotLeaderError when it isn't this one. */
  leading: () => Controller;
  isActivator: (token: string) => boolean | Promise<boolean>;
}

/** `POST /v1/demand` from activators and `POST /v1/stats` from runtimes; both answer 204. */
export function addIntakeRoutes(app: FastifyInstance, { leading, isActivator }: IntakeOptions): void {
  app.post(DEMAND_PATH, async (request, reply) => {
    const verdict = isActivator(bearerToken(request, 'token of an activator'));
    if (!(typeof verdict === 'boolean' ? verdict : await verdict)) {
      throw unauthorized('the token is not that of an activator');
    }
    leading().demand(parsed(demandReportSchema, request, 'a demand report'));
    return reply.code(204).send();
  });
  app.post(STATS_PATH, (request, reply) => {
    const token = bearerToken(request, 'token of the claim');
    const report = parsed(statsReportSchema, request, 'a stats report');
    if (!leading().stats(report, token)) {
      throw unauthorized(`the token is not that of claim ${report.claimId.slice(0, 100)}`);
    }
    return reply.code(204).send();
  });
}

function parsed<Schema extends z.ZodType>(
  schema: Schema,
  request: FastifyRequest,
  what: string,
): z.output<Schema> {
  const result = schema.safeParse(request.body);
  if (result.success) return result.data;
  throw new PilotlightError(
    'invalid-request',
    `expected ${what}: ${z.prettifyError(result.error).slice(0, 2_000)}`,
  );
}
