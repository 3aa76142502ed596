import { Counter, Histogram, type Registry } from 'prom-client';
import { OwnedSeries } from '../../process/metrics.ts';
import type { Controller } from './create-controller.ts';
import { ADMIN_CALLS, ADMIN_OUTCOMES, type EngineCounters, PLATFORM_OPERATIONS } from './engine-context.ts';
import {
  labelsOf,
  live,
  POOL_LABELS,
  poolLabels,
  registerStateMetrics,
  SERVICE_LABELS,
} from './state-metrics.ts';

/** From a standby's hit in the page cache to a download of gigabytes. */
const COLD_START_SECONDS = [0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120];

/** A process that replaces itself takes a tenth of a second, as far as the cores are free. */
const RECYCLE_SECONDS = [0.05, 0.1, 0.15, 0.2, 0.25, 0.5, 1, 2.5, 5, 10, 30];

/** A look at one service takes tens of microseconds; a write beside it is not waited for. */
const RECONCILE_SECONDS = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1];

/**
 * The controller's own metrics. Labels are namespace with service or pool, and words out of closed lists, so that
 * series grow with the number of services and pools alone; those of a service that is gone are dropped.
 */
export interface EngineMetrics {
  readonly counters: EngineCounters;
  /** This controller leads: its state is shown at each scrape from now on. */
  observe(controller: Controller): void;
}

export function createEngineMetrics(registry: Registry): EngineMetrics {
  const registers = [registry];
  let leader: Controller | undefined;
  const owned = new OwnedSeries();
  registerStateMetrics(registry, () => leader);
  const decisions = new Counter({
    name: 'pilotlight_decisions_total',
    help: 'Changes of the wanted number of replicas, by what had the last word.',
    labelNames: [...SERVICE_LABELS, 'reason'],
    registers,
  });
  const failedStarts = new Counter({
    name: 'pilotlight_failed_starts_total',
    help: 'Replicas that did not become ready, by error code or by the reason that Kubernetes gives.',
    labelNames: [...SERVICE_LABELS, 'code'],
    registers,
  });
  const crashes = new Counter({
    name: 'pilotlight_replica_crashes_total',
    help: 'Replicas that ended unasked after they had been ready.',
    labelNames: SERVICE_LABELS,
    registers,
    // At 0 from the beginning: what appears with its first 1 has not increased, as Prometheus sees it.
    collect() {
      for (const entry of leader === undefined ? [] : live(leader.context))
        this.inc(owned.note(entry.uid, this, labelsOf(entry)), 0);
    },
  });
  // 18 series a phase; 8 phases with a standby, 9 with a new pod: 306 for a service that starts in both ways.
  const phases = new Histogram({
    name: 'pilotlight_cold_start_phase_seconds',
    help: 'Time of each phase of a start, and of the whole (phase "total"); starts ahead of demand included.',
    labelNames: [...SERVICE_LABELS, 'via', 'phase'],
    buckets: COLD_START_SECONDS,
    registers,
  });
  const coldStarts = new Histogram({
    name: 'pilotlight_cold_start_seconds',
    help: 'Whole starts of all services: by a standby or a new pod, with the model cached, fetched or none (a container), and whether a request waited.',
    labelNames: ['via', 'model', 'waited'],
    buckets: COLD_START_SECONDS,
    registers,
  });
  const standbyFailures = new Counter({
    name: 'pilotlight_pool_failed_starts_total',
    help: 'Standbys of a pool that could not be started or died; the log says why.',
    labelNames: POOL_LABELS,
    registers,
    collect() {
      for (const key of leader?.context.pools.keys() ?? [])
        this.inc(owned.note(key, this, poolLabels(key)), 0);
    },
  });
  const recycles = new Histogram({
    name: 'pilotlight_recycle_seconds',
    help: 'Replicas that became standbys again after they had served: from the call to the runtime until it waits for the next service.',
    labelNames: POOL_LABELS,
    buckets: RECYCLE_SECONDS,
    registers,
  });
  const adminCalls = new Counter({
    name: 'pilotlight_admin_calls_total',
    help: 'Calls to the admin ports of replicas, by verb and outcome: ok, refused (claimed by another, or a newer leader), failed.',
    labelNames: ['call', 'outcome'],
    registers,
  });
  const reconciles = new Histogram({
    name: 'pilotlight_reconcile_seconds',
    help: 'One look at one service, by its cause: tick, demand or news.',
    labelNames: ['cause'],
    buckets: RECONCILE_SECONDS,
    registers,
  });
  const platformErrors = new Counter({
    name: 'pilotlight_reconcile_errors_total',
    help: 'Operations of the controller that failed and are tried again; "watch" stands for calls to the Kubernetes API beside the engine’s own.',
    labelNames: ['operation'],
    registers,
  });
  const suspects = new Counter({
    name: 'pilotlight_suspected_replicas_total',
    help: 'Reports of activators that a replica refused or broke.',
    registers,
  });
  for (const call of ADMIN_CALLS) for (const outcome of ADMIN_OUTCOMES) adminCalls.inc({ call, outcome }, 0);
  for (const operation of PLATFORM_OPERATIONS) platformErrors.inc({ operation }, 0);
  return {
    counters: {
      decision: (entry, reason) => {
        decisions.inc(owned.note(entry.uid, decisions, { ...labelsOf(entry), reason }));
      },
      failedStart: (entry, code) => {
        failedStarts.inc(owned.note(entry.uid, failedStarts, { ...labelsOf(entry), code }));
      },
      crash: (entry) => {
        crashes.inc(owned.note(entry.uid, crashes, labelsOf(entry)));
      },
      coldStart: (entry, phasesMs, { via, model, waited }) => {
        for (const [phase, ms] of Object.entries(phasesMs)) {
          const labels = owned.note(entry.uid, phases, { ...labelsOf(entry), via, phase });
          phases.observe(labels, ms / 1000);
        }
        const { total } = phasesMs;
        if (total !== undefined) coldStarts.observe({ via, model, waited: String(waited) }, total / 1000);
      },
      standbyFailed: (pool) => {
        standbyFailures.inc(owned.note(pool, standbyFailures, poolLabels(pool)));
      },
      recycled: (pool, ms) => {
        recycles.observe(owned.note(pool, recycles, poolLabels(pool)), ms / 1000);
      },
      adminCall: (call, outcome) => {
        adminCalls.inc({ call, outcome });
      },
      reconciled: (cause, ms) => {
        reconciles.observe({ cause }, ms / 1000);
      },
      platformError: (operation) => {
        platformErrors.inc({ operation });
      },
      suspect: () => {
        suspects.inc();
      },
      forgetService: (entry) => {
        owned.forget(entry.uid);
      },
      forgetPool: (pool) => {
        owned.forget(pool);
      },
    },
    observe: (controller) => {
      leader = controller;
    },
  };
}
