import { bucketRate, gaugeBy, increaseBy, quantile, rateBy } from './promql.ts';
import { RECORDED } from './recording-rules.ts';

export interface Alert {
  /** Also the name of its page in docs/runbooks/. */
  readonly name: string;
  readonly severity: 'critical' | 'warning';
  /** What is looked at. It has a value also while all is well, so that a dashboard or a person can ask for it. */
  readonly measure: string;
  /** When that is wrong: a comparison. */
  readonly when: string;
  /** The measure where nothing reports anything at all. */
  readonly ifAbsent?: number;
  readonly for: string;
  readonly summary: string;
  /** With `{{ $labels.… }}` and `{{ $value }}`. */
  readonly description: string;
}

const SERVICE = ['namespace', 'service'] as const;
const POOL = ['namespace', 'pool'] as const;
const NAMED = '{{ $labels.namespace }}/{{ $labels.service }}';
const NAMED_POOL = '{{ $labels.namespace }}/{{ $labels.pool }}';
const SECONDS = '{{ $value | humanizeDuration }}';
const PERCENT = '{{ $value | humanizePercentage }}';

/** The expression that Prometheus evaluates. */
export function exprOf({ measure, when, ifAbsent }: Alert): string {
  return ifAbsent === undefined ? `${measure} ${when}` : `(${measure} or vector(${ifAbsent})) ${when}`;
}

export const ALERTS: readonly Alert[] = [
  {
    name: 'PilotlightControllerLeaderless',
    severity: 'critical',
    measure: gaugeBy('sum', 'pilotlight_leader', []),
    when: '< 1',
    ifAbsent: 0,
    for: '1m',
    summary: 'No controller leads.',
    description:
      'No controller has reported for a minute that it leads. What is warm is served on, but nothing is started, scaled or replaced.',
  },
  {
    name: 'PilotlightActivatorsMissing',
    severity: 'critical',
    measure: gaugeBy('count', 'pilotlight_activator_connections', []),
    when: '< 1',
    ifAbsent: 0,
    for: '1m',
    summary: 'No activator reports.',
    description:
      'No activator has been scraped for a minute. Requests to services at zero have nowhere to go.',
  },
  {
    name: 'PilotlightRoutesStale',
    severity: 'critical',
    measure: gaugeBy('max', 'pilotlight_activator_routes_age_seconds', ['namespace', 'pod']),
    when: '> 30',
    for: '1m',
    summary: 'An activator has old routes.',
    description: `Activator {{ $labels.pod }} has not heard of the controller for ${SECONDS}; a heartbeat comes each 2 s. It serves on with the last routes and learns of no new replica.`,
  },
  {
    name: 'PilotlightDemandNotTaken',
    severity: 'critical',
    measure: `${rateBy('pilotlight_activator_demand_posts_total', ['namespace', 'pod'], { outcome: 'failed' }, '2m')} / ${rateBy('pilotlight_activator_demand_posts_total', ['namespace', 'pod'], {}, '2m')}`,
    when: '> 0.5',
    for: '2m',
    summary: 'The controller does not take an activator’s demand.',
    description: `${PERCENT} of the demand reports of activator {{ $labels.pod }} fail. The controller does not learn that somebody waits, so services at zero stay there.`,
  },
  {
    name: 'PilotlightErrorsHigh',
    severity: 'critical',
    measure: RECORDED.errorRatio,
    when: '> 0.05',
    for: '5m',
    summary: 'A service answers with errors.',
    description: `${PERCENT} of the requests to ${NAMED} have been answered with a 5xx for five minutes.`,
  },
  {
    name: 'PilotlightQueueFilling',
    severity: 'critical',
    measure:
      'max by (namespace, service) (pilotlight_activator_queue_requests / (pilotlight_activator_queue_limit_requests > 0))',
    when: '> 0.8',
    for: '1m',
    summary: 'The queue of a service is nearly full.',
    description: `The queue of ${NAMED} is ${PERCENT} full in one activator. Beyond that requests are refused with 503 queue-full.`,
  },
  {
    name: 'PilotlightColdStartSlow',
    severity: 'warning',
    measure: quantile(
      0.95,
      bucketRate('pilotlight_cold_start_phase_seconds', SERVICE, { phase: 'total' }, '15m'),
    ),
    when: '> 30',
    for: '5m',
    summary: 'Starts of a service take long.',
    description: `One start in twenty of ${NAMED} takes ${SECONDS} or more. Callers wait as long, and get 504 beyond the service’s start timeout.`,
  },
  {
    name: 'PilotlightCachedColdStartSlow',
    severity: 'warning',
    measure: quantile(
      0.95,
      bucketRate(
        'pilotlight_cold_start_seconds',
        [],
        { via: 'standby', model: 'cached', waited: 'true' },
        '30m',
      ),
    ),
    when: '> 2',
    for: '10m',
    summary: 'Cold starts from the cache take long.',
    description: `One in twenty cold starts of a standby with the model in its cache takes ${SECONDS} or more; they are meant to take tenths of a second. That points at nodes, not at a model.`,
  },
  {
    name: 'PilotlightModelLoadFailing',
    severity: 'warning',
    measure: gaugeBy('max', 'pilotlight_service_state', ['namespace', 'service', 'state'], {
      state: { re: 'Failed|Degraded' },
    }),
    when: '> 0',
    for: '2m',
    summary: 'A service’s model does not load.',
    description: `${NAMED} is {{ $labels.state }}: its newest revision does not load.`,
  },
  {
    name: 'PilotlightReplicasMissing',
    severity: 'warning',
    measure: `${gaugeBy('sum', 'pilotlight_replicas', SERVICE, { state: 'wanted' })} - ${gaugeBy('sum', 'pilotlight_replicas', SERVICE, { state: 'ready' })}`,
    when: '> 0',
    for: '10m',
    summary: 'A service has fewer replicas than it wants.',
    description: `${NAMED} has lacked {{ $value }} ready replicas for ten minutes: pods that no node takes, an image that cannot be pulled, a container that does not start.`,
  },
  {
    name: 'PilotlightReplicasCrashing',
    severity: 'warning',
    measure: increaseBy('pilotlight_replica_crashes_total', SERVICE, {}, '15m'),
    when: '> 2',
    for: '0m',
    summary: 'Replicas of a service crash.',
    description: `Replicas of ${NAMED} have ended unasked {{ $value | humanize }} times within 15 minutes.`,
  },
  {
    name: 'PilotlightPoolEmpty',
    severity: 'warning',
    measure: `${gaugeBy('sum', 'pilotlight_pool_standbys', POOL, { state: 'ready' })} / (${gaugeBy('sum', 'pilotlight_pool_standbys', POOL, { state: 'wanted' })} > 0)`,
    when: '== 0',
    for: '5m',
    summary: 'A pool has no standby.',
    description: `Pool ${NAMED_POOL} has had no free standby for five minutes. Cold starts in its namespace take seconds, since a pod has to be made for each.`,
  },
  {
    name: 'PilotlightStandbysFailing',
    severity: 'warning',
    measure: increaseBy('pilotlight_pool_failed_starts_total', POOL, {}, '15m'),
    when: '> 3',
    for: '0m',
    summary: 'Standbys of a pool do not start or die.',
    description: `{{ $value | humanize }} standbys of pool ${NAMED_POOL} have failed within 15 minutes.`,
  },
  {
    name: 'PilotlightAdminCallsFailing',
    severity: 'warning',
    measure: `${rateBy('pilotlight_admin_calls_total', ['call'], { outcome: 'failed' }, '10m')} / ${rateBy('pilotlight_admin_calls_total', ['call'], {}, '10m')}`,
    when: '> 0.1',
    for: '10m',
    summary: 'The controller cannot reach replicas.',
    description: `${PERCENT} of the {{ $labels.call }} calls to replicas fail. Starts are tried again elsewhere and take longer, replicas that leave are ended instead of reused.`,
  },
  {
    name: 'PilotlightReconcileErrors',
    severity: 'warning',
    measure: rateBy('pilotlight_reconcile_errors_total', ['operation'], {}, '5m'),
    when: '> 0.05',
    for: '10m',
    summary: 'Work of the controller fails again and again.',
    description: `Operation {{ $labels.operation }} of the controller fails {{ $value | printf "%.2f" }} times a second and is tried again.`,
  },
];
