import type { FastifyInstance, FastifyRequest } from 'fastify';
import { z } from 'zod';
import { API_PATHS } from '../../contracts/console.ts';
import { PilotlightError } from '../../contracts/errors.ts';
import { sameToken } from '../engine/claim-token.ts';
import type { Controller } from '../engine/create-controller.ts';
import type { ViewFilter } from '../engine/views.ts';
import { bearerToken, unauthorized } from './bearer.ts';

interface ConsoleOptions {
  /** @throws NotLeaderError when it isn't this one. */
  leading: () => Controller;
  readToken?: string;
}

const filterSchema = z.object({
  namespace: z.string().max(253).optional(),
  service: z.string().max(253).optional(),
});

/** What people, the terminal and the console read. Lists are bounded by the views. */
export function addConsoleRoutes(app: FastifyInstance, { leading, readToken }: ConsoleOptions): void {
  const readable = (request: FastifyRequest): void => {
    if (readToken !== undefined && !sameToken(readToken, bearerToken(request, 'read token'))) {
      throw unauthorized('the token is not the read token of this controller');
    }
  };
  const list = (
    path: string,
    items: (views: Controller['views'], filter: ViewFilter) => readonly unknown[],
  ): void => {
    app.get(path, (request, reply) => {
      readable(request);
      void reply.send({ items: items(leading().views, filterOf(request)) });
    });
  };
  list(API_PATHS.services, (views, { namespace, service }) =>
    views
      .services()
      .filter(
        (view) =>
          (namespace === undefined || view.namespace === namespace) &&
          (service === undefined || view.name === service),
      ),
  );
  list(API_PATHS.revisions, (views, filter) => views.revisions(filter));
  list(API_PATHS.replicas, (views, filter) => views.replicas(filter));
  list(API_PATHS.decisions, (views, filter) => views.decisions(filter));
  list(API_PATHS.coldStarts, (views, filter) => views.coldStarts(filter));
  app.get<{ Params: { namespace: string; name: string } }>(
    `${API_PATHS.services}/:namespace/:name`,
    (request, reply) => {
      readable(request);
      const { namespace, name } = request.params;
      const controller = leading();
      const view = controller.views.service(namespace, name);
      if (view === undefined) throw noSuchService(controller, namespace, name);
      void reply.send(view);
    },
  );
}

function noSuchService(controller: Controller, namespace: string, name: string): PilotlightError {
  const there = controller.views
    .services()
    .filter((view) => view.namespace === namespace)
    .map((view) => view.name);
  const some = there.length === 0 ? 'none' : there.slice(0, 20).join(', ');
  const message = `no service ${name.slice(0, 100)} in namespace ${namespace.slice(0, 100)}; there: ${some}`;
  return new PilotlightError('unknown-service', message);
}

function filterOf(request: FastifyRequest): ViewFilter {
  const query = filterSchema.safeParse(request.query);
  if (query.success) return query.data;
  throw new PilotlightError(
    'invalid-request',
    `expected ?namespace=&service=: ${z.prettifyError(query.error)}`,
  );
}
