import { Counter, Gauge, type Registry } from 'prom-client';
import { demandKey } from '../core/demand.ts';
import { isQuarantined } from '../core/replicas.ts';
import type { Controller } from './create-controller.ts';
import { creatingKey, type EngineContext, type ServiceEntry } from './engine-context.ts';
import { countsOf } from './persistence.ts';

export const SERVICE_LABELS = ['namespace', 'service'] as const;
export const POOL_LABELS = ['namespace', 'pool'] as const;

/** A pool's key is `namespace/name` on a cluster and one word on a machine of its own. */
export function poolLabels(key: string): { namespace: string; pool: string } {
  const slash = key.indexOf('/');
  return { namespace: key.slice(0, Math.max(0, slash)), pool: key.slice(slash + 1) };
}

type Labels = Readonly<Record<string, string>>;
type Show = (labels: Labels, value: number) => void;

interface StateMetric {
  readonly name: string;
  readonly help: string;
  readonly labelNames?: readonly string[];
  readonly read: (controller: Controller, show: Show) => void;
}

/**
 * Registers what is read off the engine's state at each scrape. Who stands by shows none of it, but for
 * `pilotlight_leader`, and 0 where there are no labels: two controllers must not tell two stories of one service.
 */
export function registerStateMetrics(registry: Registry, leader: () => Controller | undefined): void {
  const registers = [registry];
  void new Gauge({
    name: 'pilotlight_leader',
    help: '1 for the controller that leads, 0 for one that stands by.',
    registers,
    collect() {
      this.set(leader()?.context.isStopped === false ? 1 : 0);
    },
  });
  const register = (Kind: typeof Gauge | typeof Counter, metrics: readonly StateMetric[]): void => {
    for (const { name, help, labelNames = [], read } of metrics) {
      void new Kind({
        name,
        help,
        labelNames: [...labelNames],
        registers,
        collect(this: Gauge | Counter) {
          this.reset();
          const controller = leader();
          if (controller !== undefined) read(controller, (labels, value) => this.inc({ ...labels }, value));
        },
      });
    }
  };
  register(Gauge, [...SERVICE_GAUGES, ...POOL_GAUGES, ...OWN_GAUGES]);
  register(Counter, USAGE_COUNTERS);
}

const SERVICE_GAUGES: readonly StateMetric[] = [
  {
    name: 'pilotlight_service_state',
    help: '1 with the state that the service is in: Standby, Starting, Ready, Degraded, Failed, Invalid, Stopped.',
    labelNames: [...SERVICE_LABELS, 'state'],
    read: ({ views }, show) => {
      for (const { namespace, name, state } of views.services()) show({ namespace, service: name, state }, 1);
    },
  },
  {
    name: 'pilotlight_replicas',
    help: 'Replicas of a service: wanted, ready, starting, draining.',
    labelNames: [...SERVICE_LABELS, 'state'],
    read: ({ context }, show) => {
      for (const { entry, revision } of revisionsOf(context)) {
        for (const [state, count] of Object.entries(countsOf(context, entry, revision)))
          show({ ...labelsOf(entry), state }, count);
      }
    },
  },
  {
    name: 'pilotlight_queued_requests',
    help: 'Requests that wait in activators for a replica.',
    labelNames: SERVICE_LABELS,
    read: ({ context }, show) => {
      const nowMs = context.clock.nowMs();
      for (const { entry, revision } of revisionsOf(context))
        show(labelsOf(entry), context.demand.now(demandKey(entry.uid, revision), nowMs).queued);
    },
  },
  {
    name: 'pilotlight_in_flight_requests',
    help: 'Requests that replicas work on, as activators and runtimes report them.',
    labelNames: SERVICE_LABELS,
    read: ({ context }, show) => {
      const nowMs = context.clock.nowMs();
      for (const { entry, revision } of revisionsOf(context))
        show(labelsOf(entry), context.demand.now(demandKey(entry.uid, revision), nowMs).inFlight);
    },
  },
  {
    name: 'pilotlight_ready_capacity_requests',
    help: 'Requests at once that the ready replicas take.',
    labelNames: SERVICE_LABELS,
    read: ({ context }, show) => {
      for (const entry of live(context)) show(labelsOf(entry), 0);
      for (const record of context.records.values()) {
        const entry = context.services.get(record.owner?.serviceUid ?? '');
        if (entry === undefined || entry.isDeleted || record.phase !== 'ready') continue;
        const own = entry.runtimes.get(record.owner?.revision ?? '')?.capacity;
        show(labelsOf(entry), record.capacity ?? own ?? 0);
      }
    },
  },
  {
    name: 'pilotlight_panic',
    help: '1 while the autoscaler of a service goes by its short window.',
    labelNames: SERVICE_LABELS,
    read: ({ context }, show) => {
      for (const entry of live(context)) {
        const isPanic = [...entry.runtimes.values()].some(
          ({ autoscaler }) => autoscaler?.panic !== undefined,
        );
        show(labelsOf(entry), isPanic ? 1 : 0);
      }
    },
  },
  {
    // One or two revisions of a service have traffic at a time; their names are new with each rollout.
    name: 'pilotlight_revision_traffic_percent',
    help: 'Share of new requests, of each revision that gets any.',
    labelNames: [...SERVICE_LABELS, 'revision'],
    read: ({ context }, show) => {
      for (const entry of live(context)) {
        for (const [revision, percent] of entry.traffic)
          if (percent > 0) show({ ...labelsOf(entry), revision }, percent);
      }
    },
  },
];

const POOL_GAUGES: readonly StateMetric[] = [
  {
    name: 'pilotlight_pool_standbys',
    help: 'Standbys of a pool: wanted, ready (to be taken by anybody), held (for the service they have left), starting, reserved, serving, leaving.',
    labelNames: [...POOL_LABELS, 'state'],
    read: ({ context }, show) => {
      for (const { key, size } of context.pools.values()) {
        const labels = poolLabels(key);
        show({ ...labels, state: 'wanted' }, size);
        const starting = context.creating.get(creatingKey(key)) ?? 0;
        for (const [state, count] of Object.entries(standbysOf(context, key)))
          show({ ...labels, state }, state === 'starting' ? count + starting : count);
      }
    },
  },
];

const OWN_GAUGES: readonly StateMetric[] = [
  {
    name: 'pilotlight_activators',
    help: 'Open streams of routes.',
    read: ({ context }, show) => show({}, context.subscribers.size),
  },
  {
    name: 'pilotlight_pending_writes',
    help: 'Services with a write to the platform that waits or runs.',
    read: ({ context }, show) => show({}, context.queue.size),
  },
];

/** Sampled at each tick and each scrape, so that a replica is off by a tick at most. */
const USAGE_COUNTERS: readonly StateMetric[] = [
  {
    name: 'pilotlight_replica_seconds_total',
    help: 'Replicas of a service times the seconds they were there, from their start to their end.',
    labelNames: SERVICE_LABELS,
    read: ({ context }, show) => {
      context.usage.take(context.records.values(), context.clock.nowMs());
      for (const entry of live(context))
        show(labelsOf(entry), context.usage.ofService(entry.uid).replicaSeconds);
    },
  },
  {
    name: 'pilotlight_replica_memory_byte_seconds_total',
    help: 'Memory that the replicas of a service have requested of their nodes, times seconds; 0 without a cluster.',
    labelNames: SERVICE_LABELS,
    read: ({ context }, show) => {
      for (const entry of live(context))
        show(labelsOf(entry), context.usage.ofService(entry.uid).memoryByteSeconds);
    },
  },
  {
    name: 'pilotlight_standby_seconds_total',
    help: 'Standbys of a pool that served nobody, times seconds.',
    labelNames: POOL_LABELS,
    read: ({ context }, show) => {
      for (const { key } of context.pools.values())
        show(poolLabels(key), context.usage.ofPool(key).replicaSeconds);
    },
  },
  {
    name: 'pilotlight_standby_memory_byte_seconds_total',
    help: 'Memory that idle standbys of a pool have requested of their nodes, times seconds; 0 without a cluster.',
    labelNames: POOL_LABELS,
    read: ({ context }, show) => {
      for (const { key } of context.pools.values())
        show(poolLabels(key), context.usage.ofPool(key).memoryByteSeconds);
    },
  },
];

export function labelsOf({ settings }: ServiceEntry): { namespace: string; service: string } {
  return { namespace: settings.namespace, service: settings.name };
}

export function live(context: EngineContext): ServiceEntry[] {
  return [...context.services.values()].filter(({ isDeleted }) => !isDeleted);
}

function* revisionsOf(context: EngineContext): Generator<{ entry: ServiceEntry; revision: string }> {
  for (const entry of live(context)) {
    for (const { name } of entry.revisions ?? []) yield { entry, revision: name };
  }
}

type StandbyState = 'ready' | 'held' | 'starting' | 'reserved' | 'serving' | 'leaving';

function standbysOf(context: EngineContext, pool: string): Readonly<Record<StandbyState, number>> {
  const counts = { ready: 0, held: 0, starting: 0, reserved: 0, serving: 0, leaving: 0 };
  const nowMs = context.clock.nowMs();
  for (const record of context.records.values()) {
    if (record.pool !== pool || record.origin !== 'standby') continue;
    const { phase, reservedFor } = record;
    if (phase === 'claiming' || phase === 'ready') counts.serving++;
    else if (phase === 'starting' || phase === 'standby') {
      if (reservedFor !== undefined) counts.reserved++;
      else if (phase === 'starting') counts.starting++;
      else if (isQuarantined(record, context.quarantine, undefined, nowMs)) counts.held++;
      else counts.ready++;
    } else counts.leaving++;
  }
  return counts;
}
