import type { RoutesMessage } from '../../contracts/routes.ts';
import { serviceRoute } from '../core/routes.ts';
import type { EngineContext, ServiceEntry } from './engine-context.ts';
import { waitsForOf } from './persistence.ts';

/** Tells the activators how a service stands now, if that is news. */
export function publishRoute(context: EngineContext, entry: ServiceEntry): void {
  if (entry.revisions === undefined || !context.isSynced) return;
  const change = entry.isDeleted
    ? context.routes.remove(entry.uid)
    : context.routes.set(
        serviceRoute({
          uid: entry.uid,
          settings: entry.settings,
          hosts: entry.hosts,
          revisions: entry.revisions,
          traffic: entry.traffic,
          carriers: entry.carriage.carriers,
          directHosts: entry.direct.isDirect ? entry.ownHosts : [],
          records: context.records.values(),
          containerConcurrency: entry.resolved.service.spec.predictor.containerConcurrency,
          startingPhase: (revision) => startingPhase(context, entry, revision),
          trouble: (revision) => entry.runtimes.get(revision)?.trouble,
          nowMs: context.clock.nowMs(),
        }),
      );
  if (change !== undefined) broadcast(context, change);
}

/** With the platform's word for what a start waits for; its sentence, which names nodes and quotas, is not for callers. */
function startingPhase(context: EngineContext, entry: ServiceEntry, revision: string): string | undefined {
  const phase = entry.runtimes.get(revision)?.startingPhase;
  const code = phase === undefined ? undefined : waitsForOf(context, entry, revision)?.code;
  return code === undefined ? phase : `${phase} (${code})`;
}

function broadcast(context: EngineContext, message: RoutesMessage): void {
  for (const subscriber of context.subscribers) subscriber(message);
}
