import { Counter, Gauge, type GaugeConfiguration, Histogram, type Registry } from 'prom-client';
import { demandKey } from '../core/demand.ts';
import type { Controller } from './create-controller.ts';
import type { EngineContext, EngineCounters, ServiceEntry } from './engine-context.ts';
import { countsOf } from './persistence.ts';

/** From a standby's hit in the page cache to a download of gigabytes. */
const PHASE_BUCKETS_SECONDS = [0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120];

const SERVICE_LABELS = ['namespace', 'service'] as const;

/** The controller's own metrics; labels are namespace and service, and words out of closed lists. */
export interface EngineMetrics {
  readonly counters: EngineCounters;
  /** Begins to show the state of this controller at each scrape. */
  observe(controller: Controller): void;
}

export function createEngineMetrics(registry: Registry): EngineMetrics {
  const registers = [registry];
  const decisions = new Counter({
    name: 'pilotlight_decisions_total',
    help: 'Changes of the wanted number of replicas, by what had the last word.',
    labelNames: [...SERVICE_LABELS, 'reason'],
    registers,
  });
  const failedStarts = new Counter({
    name: 'pilotlight_failed_starts_total',
    help: 'Replicas that did not become ready, by error code.',
    labelNames: [...SERVICE_LABELS, 'code'],
    registers,
  });
  const crashes = new Counter({
    name: 'pilotlight_replica_crashes_total',
    help: 'Replicas that ended unasked after they had been ready.',
    labelNames: SERVICE_LABELS,
    registers,
  });
  const phases = new Histogram({
    name: 'pilotlight_cold_start_phase_seconds',
    help: 'Time of each phase of a cold start, and of the whole (phase "total").',
    labelNames: [...SERVICE_LABELS, 'via', 'phase'],
    buckets: PHASE_BUCKETS_SECONDS,
    registers,
  });
  const platformErrors = new Counter({
    name: 'pilotlight_reconcile_errors_total',
    help: 'Operations of the controller that failed and are tried again.',
    labelNames: ['operation'],
    registers,
  });
  const suspects = new Counter({
    name: 'pilotlight_suspected_replicas_total',
    help: 'Reports of activators that a replica refused or broke.',
    registers,
  });
  return {
    counters: {
      decision: (entry, reason) => {
        decisions.inc({ ...labelsOf(entry), reason });
      },
      failedStart: (entry, code) => {
        failedStarts.inc({ ...labelsOf(entry), code });
      },
      crash: (entry) => {
        crashes.inc(labelsOf(entry));
      },
      coldStart: (entry, phasesMs, via) => {
        for (const [phase, ms] of Object.entries(phasesMs)) {
          phases.observe({ ...labelsOf(entry), via, phase }, ms / 1000);
        }
      },
      platformError: (operation) => {
        platformErrors.inc({ operation });
      },
      suspect: () => {
        suspects.inc();
      },
    },
    observe: (controller) => {
      observeState(registry, controller);
    },
  };
}

function labelsOf({ settings }: ServiceEntry): { namespace: string; service: string } {
  return { namespace: settings.namespace, service: settings.name };
}

function observeState(registry: Registry, controller: Controller): void {
  const gauge = <Label extends string>(configuration: GaugeConfiguration<Label>): Gauge<Label> =>
    new Gauge({ ...configuration, registers: [registry] });
  const { context } = controller;
  gauge({
    name: 'pilotlight_replicas',
    help: 'Replicas of a service: wanted, ready, starting, draining.',
    labelNames: [...SERVICE_LABELS, 'state'],
    collect() {
      this.reset();
      for (const entry of live(context)) {
        for (const { name } of entry.revisions ?? []) {
          for (const [state, count] of Object.entries(countsOf(context, entry, name))) {
            this.inc({ ...labelsOf(entry), state }, count);
          }
        }
      }
    },
  });
  gauge({
    name: 'pilotlight_queued_requests',
    help: 'Requests that wait in activators for a replica.',
    labelNames: SERVICE_LABELS,
    collect() {
      this.reset();
      const nowMs = context.clock.nowMs();
      for (const entry of live(context)) {
        for (const { name } of entry.revisions ?? []) {
          this.inc(labelsOf(entry), context.demand.now(demandKey(entry.uid, name), nowMs).queued);
        }
      }
    },
  });
  gauge({
    name: 'pilotlight_services',
    help: 'Services by state.',
    labelNames: ['state'],
    collect() {
      this.reset();
      for (const { state } of controller.views.services()) this.inc({ state });
    },
  });
  gauge({
    name: 'pilotlight_standbys',
    help: 'Started generic replicas that wait for a model.',
    collect() {
      let standbys = 0;
      for (const { phase, owner } of context.records.values()) {
        if (phase === 'standby' && owner === undefined) standbys++;
      }
      this.set(standbys);
    },
  });
  gauge({
    name: 'pilotlight_activators',
    help: 'Open streams of routes.',
    collect() {
      this.set(context.subscribers.size);
    },
  });
  gauge({
    name: 'pilotlight_pending_writes',
    help: 'Services with a write to the platform that waits or runs.',
    collect() {
      this.set(context.queue.size);
    },
  });
}

function live(context: EngineContext): ServiceEntry[] {
  return [...context.services.values()].filter(({ isDeleted }) => !isDeleted);
}
