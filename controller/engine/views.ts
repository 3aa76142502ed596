import type { ColdStart } from '../../contracts/cold-start.ts';
import type { DecisionView, ReplicaView, RevisionView, ServiceView } from '../../contracts/console.ts';
import type { InferenceServiceStatus } from '../../crds/schema.ts';
import { demandKey } from '../core/demand.ts';
import type { ReplicaPhase } from '../core/replica-record.ts';
import { targetOf } from '../core/revisions.ts';
import { serviceSettings } from '../core/service-settings.ts';
import type { EngineContext, ServiceEntry } from './engine-context.ts';
import { countsOf } from './persistence.ts';

export interface ViewFilter {
  namespace?: string | undefined;
  service?: string | undefined;
}

/** What the JSON API shows. Lists are bounded: services and revisions by `MAX_ITEMS`, decisions by a hundred. */
export interface Views {
  services(): ServiceView[];
  service(namespace: string, name: string): ServiceView | undefined;
  revisions(filter: ViewFilter): RevisionView[];
  replicas(filter: ViewFilter): ReplicaView[];
  decisions(filter: ViewFilter): DecisionView[];
  coldStarts(filter: ViewFilter): ColdStart[];
}

const MAX_ITEMS = 20_000;
const MAX_DECISIONS = 100;

export function createViews(context: EngineContext): Views {
  const entries = (filter: ViewFilter): ServiceEntry[] =>
    [...context.services.values()].filter(
      ({ isDeleted, settings }) =>
        !isDeleted &&
        (filter.namespace === undefined || settings.namespace === filter.namespace) &&
        (filter.service === undefined || settings.name === filter.service),
    );
  return {
    services: () =>
      [...entries({}).map((entry) => serviceView(context, entry)), ...refused(context)].slice(0, MAX_ITEMS),
    service: (namespace, name) => {
      const [entry] = entries({ namespace, service: name });
      if (entry !== undefined) return serviceView(context, entry);
      return refused(context).find((view) => view.namespace === namespace && view.name === name);
    },
    revisions: (filter) =>
      entries(filter)
        .flatMap((entry) => revisionViews(context, entry))
        .slice(0, MAX_ITEMS),
    replicas: (filter) => replicaViews(context, filter).slice(0, MAX_ITEMS),
    decisions: (filter) =>
      context.decisions
        .filter(
          (view) =>
            (filter.namespace === undefined || view.namespace === filter.namespace) &&
            (filter.service === undefined || view.service === filter.service),
        )
        .slice(-MAX_DECISIONS)
        .toReversed(),
    coldStarts: (filter) => context.coldStarts.list(filter),
  };
}

function serviceView(context: EngineContext, entry: ServiceEntry): ServiceView {
  const { settings, revisions = [], traffic } = entry;
  const nowMs = context.clock.nowMs();
  const replicas = { wanted: 0, ready: 0, starting: 0 };
  let queued = 0;
  let inFlight = 0;
  for (const { name } of revisions) {
    const counts = countsOf(context, entry, name);
    replicas.wanted += counts.wanted;
    replicas.ready += counts.ready;
    replicas.starting += counts.starting;
    const demand = context.demand.now(demandKey(entry.uid, name), nowMs);
    queued += demand.queued;
    inFlight += demand.inFlight;
  }
  const last = entry.lastColdStartReplica && context.coldStarts.get(entry.lastColdStartReplica);
  const status: InferenceServiceStatus = entry.status ?? {};
  const condition = status.conditions?.find(({ type }) => type === 'Ready');
  const message = entry.invalid?.join('\n') ?? condition?.message;
  return {
    namespace: settings.namespace,
    name: settings.name,
    uid: entry.uid,
    url: entry.url,
    generation: entry.resolved.generation,
    state: stateOf(entry, status, replicas),
    ...(message !== undefined && { message }),
    ready: condition?.status === 'True',
    replicas,
    queued,
    inFlight,
    requestsPerSecond: rateOf(context, entry, nowMs),
    ...(last && { lastColdStartMs: last.totalMs }),
    latestRevision: targetOf(revisions)?.name ?? [...traffic.keys()][0] ?? '',
    status,
  };
}

function stateOf(
  entry: ServiceEntry,
  status: InferenceServiceStatus,
  replicas: { ready: number; starting: number },
): ServiceView['state'] {
  if (entry.settings.stopped !== undefined) return 'Stopped';
  if (entry.invalid !== undefined) return 'Invalid';
  const isServing = replicas.ready > 0;
  const { transitionStatus } = status.modelStatus ?? {};
  if (transitionStatus === 'BlockedByFailedLoad' || entry.platformProblem !== undefined) {
    const hasOther =
      entry.revisions?.some(({ name, everReady }) => everReady && entry.traffic.has(name)) === true;
    return isServing || hasOther ? 'Degraded' : 'Failed';
  }
  if (isServing) return 'Ready';
  if (replicas.starting > 0 || transitionStatus === 'InProgress') return 'Starting';
  return 'Standby';
}

/** Requests a second over the last ten seconds or so. */
function rateOf(context: EngineContext, entry: ServiceEntry, nowMs: number): number {
  const from = entry.rateMarks.find(({ atMs }) => nowMs - atMs < 15_000);
  if (from === undefined || nowMs - from.atMs < 500) return 0;
  let total = 0;
  for (const { name } of entry.revisions ?? [])
    total += context.demand.totalRequests(demandKey(entry.uid, name));
  // A claim that ended has taken its counters along.
  return Math.max(0, Math.round(((total - from.requests) / (nowMs - from.atMs)) * 10_000) / 10);
}

/** Manifests that were refused and that no service stands behind. */
function refused(context: EngineContext): ServiceView[] {
  return [...context.invalid].map(([key, problems]) => {
    const [namespace = '', name = ''] = key.split('/');
    return {
      namespace,
      name,
      uid: '',
      url: '',
      generation: 0,
      state: 'Invalid',
      message: problems.join('\n'),
      ready: false,
      replicas: { wanted: 0, ready: 0, starting: 0 },
      queued: 0,
      inFlight: 0,
      requestsPerSecond: 0,
      latestRevision: '',
      status: {},
    };
  });
}

function revisionViews(context: EngineContext, entry: ServiceEntry): RevisionView[] {
  const { revisions = [], traffic, settings } = entry;
  const target = targetOf(revisions);
  return revisions.map((revision) => {
    const { name, number, resolved } = revision;
    const trafficPercent = traffic.get(name) ?? 0;
    const counts = countsOf(context, entry, name);
    const trouble = entry.runtimes.get(name)?.trouble;
    const failure = trouble?.isFailed === true ? trouble : revision.failure;
    const { modelUri } = serviceSettings(resolved);
    const isUsed = trafficPercent > 0 || revision === target;
    let state: RevisionView['state'] =
      revision.everReady || settings.initialScale === 0 ? 'Standby' : 'Pending';
    if (failure !== undefined) state = 'Failed';
    else if (!isUsed) state = 'Retired';
    if (counts.starting > 0) state = 'Loading';
    if (counts.ready > 0) state = 'Ready';
    return {
      namespace: settings.namespace,
      service: settings.name,
      name,
      number,
      state,
      trafficPercent,
      ...(modelUri !== undefined && { modelUri }),
      ...(failure !== undefined && { message: `${failure.code}: ${failure.message}` }),
    };
  });
}

const SHOWN_STATE: Record<ReplicaPhase, ReplicaView['state']> = {
  starting: 'starting',
  standby: 'standby',
  claiming: 'specialising',
  ready: 'ready',
  leaving: 'draining',
  draining: 'draining',
  recycling: 'recycling',
  removing: 'draining',
};

function replicaViews(context: EngineContext, filter: ViewFilter): ReplicaView[] {
  const views: ReplicaView[] = [];
  for (const record of context.records.values()) {
    const { owner, address, pid, capacity } = record;
    const entry = owner && context.services.get(owner.serviceUid);
    if (filter.namespace !== undefined && entry?.settings.namespace !== filter.namespace) continue;
    if (filter.service !== undefined && entry?.settings.name !== filter.service) continue;
    views.push({
      id: record.id,
      ...(entry && { namespace: entry.settings.namespace, service: entry.settings.name }),
      ...(owner && { revision: owner.revision }),
      state: SHOWN_STATE[record.phase],
      ...(address !== undefined && { address }),
      ...(pid !== undefined && { pid }),
      ...(capacity !== undefined && { capacity }),
      ...(owner && { inFlight: record.inFlight }),
      sinceMs: record.sinceMs,
    });
  }
  return views;
}
