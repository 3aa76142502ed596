import { bucketRate, rateBy } from './promql.ts';

/** A series that Prometheus keeps computing, since dashboards and alerts ask for it again and again. */
export interface RecordingRule {
  readonly record: string;
  readonly expr: string;
}

const SERVICE = ['namespace', 'service'] as const;

/** Requests of clients by service, a replica's and the activator's own answers alike. */
const atActivators = rateBy('pilotlight_activator_requests_total', SERVICE, {}, '5m');
const atReplicas = rateBy('pilotlight_runtime_requests_total', SERVICE, {}, '5m');

/** Names of the recorded series: `<labels>:<metric>:<operation>`. */
export const RECORDED = {
  requests: 'namespace_service:pilotlight_requests:rate5m',
  answers: 'namespace_service:pilotlight_activator_requests:rate5m',
  errors: 'namespace_service:pilotlight_activator_errors:rate5m',
  errorRatio: 'namespace_service:pilotlight_activator_errors:ratio_rate5m',
  durationBuckets: 'namespace_service_le:pilotlight_activator_request_duration_seconds_bucket:rate5m',
} as const;

export const RECORDING_RULES: readonly RecordingRule[] = [
  {
    record: RECORDED.durationBuckets,
    expr: bucketRate('pilotlight_activator_request_duration_seconds', SERVICE, {}, '5m'),
  },
  { record: RECORDED.answers, expr: atActivators },
  {
    record: RECORDED.errors,
    expr: rateBy('pilotlight_activator_requests_total', SERVICE, { code: { re: '5..' } }, '5m'),
  },
  {
    record: RECORDED.errorRatio,
    // Where nothing has gone wrong there is no series of errors: 0, so that a graph shows it.
    expr: `(${RECORDED.errors} or 0 * ${RECORDED.answers}) / (${RECORDED.answers} > 0)`,
  },
  {
    // A request through an activator is counted there and at the replica; one in direct mode at the replica
    // alone, and one that a container answers at the activator alone. So the larger of the two.
    record: RECORDED.requests,
    expr: `(${atActivators} >= ${atReplicas}) or ${atReplicas} or ${atActivators}`,
  },
];
