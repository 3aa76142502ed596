import { type Dashboard, SERVICE_DASHBOARD } from '../grafana.ts';
import { bucketRate, gauge, gaugeBy, matching, quantile, rateBy } from '../promql.ts';
import { RECORDED } from '../recording-rules.ts';
import { CHOSEN_SERVICE, ONE_NAMESPACE, ONE_SERVICE } from './variables.ts';

const CHOSEN = matching(CHOSEN_SERVICE);

/** One service, for whoever owns it. */
export const SERVICE: Dashboard = {
  uid: SERVICE_DASHBOARD,
  title: 'Pilotlight / Service',
  description: 'One service: its replicas, its load, its answers and its starts.',
  variables: [ONE_NAMESPACE, ONE_SERVICE],
  rows: [
    {
      title: 'Now',
      panels: [
        {
          kind: 'stat',
          title: 'State',
          description: 'Standby is scaled to zero and healthy.',
          unit: 'none',
          queries: [{ expr: gauge('pilotlight_service_state', CHOSEN_SERVICE), legend: '{{state}}' }],
        },
        {
          kind: 'stat',
          title: 'Replicas ready',
          description: 'Those that take requests.',
          unit: 'none',
          queries: [
            {
              expr: gaugeBy('sum', 'pilotlight_replicas', [], { state: 'ready', ...CHOSEN_SERVICE }),
              legend: 'ready',
            },
          ],
        },
        {
          kind: 'stat',
          title: 'Requests per second',
          description: 'Over the last five minutes, direct ones included.',
          unit: 'reqps',
          queries: [{ expr: `sum(${RECORDED.requests}${CHOSEN})`, legend: 'requests' }],
        },
        {
          kind: 'stat',
          title: 'Errors',
          description: 'Share of requests that were answered with a 5xx.',
          unit: 'percentunit',
          thresholds: [{ color: 'green' }, { color: 'orange', from: 0.01 }, { color: 'red', from: 0.05 }],
          queries: [{ expr: `max(${RECORDED.errorRatio}${CHOSEN})`, legend: 'errors' }],
        },
        {
          kind: 'stat',
          title: 'Oldest request that waits',
          description: 'Its age in the queue.',
          unit: 's',
          queries: [
            {
              expr: gaugeBy('max', 'pilotlight_activator_queue_oldest_seconds', [], CHOSEN_SERVICE),
              legend: 'age',
            },
          ],
        },
      ],
    },
    {
      title: 'Scaling',
      panels: [
        {
          kind: 'timeseries',
          title: 'Replicas',
          description: 'Wanted by the autoscaler, and those that there are by state.',
          unit: 'short',
          queries: [
            {
              expr: gaugeBy('sum', 'pilotlight_replicas', ['state'], CHOSEN_SERVICE),
              legend: '{{state}}',
            },
          ],
        },
        {
          kind: 'timeseries',
          title: 'Requests at once',
          description: 'At replicas and in queues, beside what the ready replicas take.',
          unit: 'short',
          queries: [
            { expr: gauge('pilotlight_in_flight_requests', CHOSEN_SERVICE), legend: 'at replicas' },
            { expr: gauge('pilotlight_queued_requests', CHOSEN_SERVICE), legend: 'waiting' },
            { expr: gauge('pilotlight_ready_capacity_requests', CHOSEN_SERVICE), legend: 'capacity' },
          ],
        },
        {
          kind: 'timeseries',
          title: 'Decisions',
          description: 'Changes of the wanted number of replicas, by what had the last word.',
          unit: 'cps',
          queries: [
            {
              expr: rateBy('pilotlight_decisions_total', ['reason'], CHOSEN_SERVICE),
              legend: '{{reason}}',
            },
          ],
        },
        {
          kind: 'timeseries',
          title: 'Panic',
          description: '1 while the autoscaler goes by its short window.',
          unit: 'none',
          max: 1,
          width: 4,
          queries: [{ expr: gauge('pilotlight_panic', CHOSEN_SERVICE), legend: 'panic' }],
        },
      ],
    },
    {
      title: 'Requests',
      panels: [
        {
          kind: 'timeseries',
          title: 'Requests by status',
          description: 'As their callers saw them, at the activators.',
          unit: 'reqps',
          stacked: true,
          queries: [
            {
              expr: rateBy('pilotlight_activator_requests_total', ['code'], CHOSEN_SERVICE),
              legend: '{{code}}',
            },
          ],
        },
        {
          kind: 'timeseries',
          title: 'Requests at replicas',
          description: 'As the runtimes count them, direct ones included; ok, or the code of the error.',
          unit: 'reqps',
          stacked: true,
          queries: [
            {
              expr: rateBy('pilotlight_runtime_requests_total', ['code', 'protocol'], CHOSEN_SERVICE),
              legend: '{{protocol}} {{code}}',
            },
          ],
        },
        {
          kind: 'timeseries',
          title: 'Latency',
          description: 'From arrival at the activator to the end of the answer.',
          unit: 's',
          queries: [0.5, 0.95, 0.99].map((share) => ({
            expr: quantile(share, `sum by (le) (${RECORDED.durationBuckets}${CHOSEN})`),
            legend: `p${share * 100}`,
          })),
        },
      ],
    },
    {
      title: 'Where the time goes',
      panels: [
        {
          kind: 'timeseries',
          title: 'Wait in the activators',
          description: 'From arrival to the hand-over to a replica.',
          unit: 's',
          queries: [0.5, 0.95].map((share) => ({
            expr: quantile(
              share,
              bucketRate('pilotlight_activator_queue_duration_seconds', [], CHOSEN_SERVICE),
            ),
            legend: `p${share * 100}`,
          })),
        },
        {
          kind: 'timeseries',
          title: 'Wait in the replica',
          description: 'For a free instance of the model.',
          unit: 's',
          queries: [0.5, 0.95].map((share) => ({
            expr: quantile(share, bucketRate('pilotlight_runtime_queue_wait_seconds', [], CHOSEN_SERVICE)),
            legend: `p${share * 100}`,
          })),
        },
        {
          kind: 'timeseries',
          title: 'Inference',
          description: 'One run of the model.',
          unit: 's',
          queries: [0.5, 0.95].map((share) => ({
            expr: quantile(
              share,
              bucketRate('pilotlight_runtime_inference_duration_seconds', [], CHOSEN_SERVICE),
            ),
            legend: `p${share * 100}`,
          })),
        },
        {
          kind: 'timeseries',
          title: 'Memory of replicas',
          description: 'Resident, of each pod.',
          unit: 'bytes',
          queries: [
            {
              expr: gaugeBy('sum', 'pilotlight_runtime_resident_bytes', ['pod'], CHOSEN_SERVICE),
              legend: '{{pod}}',
            },
          ],
        },
      ],
    },
    {
      title: 'Starts and revisions',
      panels: [
        {
          kind: 'timeseries',
          title: 'Whole starts',
          description: 'From the first waiting request to its answer; starts ahead of demand to their route.',
          unit: 's',
          queries: [0.5, 0.95].map((share) => ({
            expr: quantile(
              share,
              bucketRate('pilotlight_cold_start_phase_seconds', [], { phase: 'total', ...CHOSEN_SERVICE }),
            ),
            legend: `p${share * 100}`,
          })),
        },
        {
          kind: 'timeseries',
          title: 'Starts that failed, and crashes',
          description: 'Failed starts by code; replicas that ended unasked.',
          unit: 'cps',
          queries: [
            {
              expr: rateBy('pilotlight_failed_starts_total', ['code'], CHOSEN_SERVICE),
              legend: '{{code}}',
            },
            { expr: rateBy('pilotlight_replica_crashes_total', [], CHOSEN_SERVICE), legend: 'crashes' },
          ],
        },
        {
          kind: 'timeseries',
          title: 'Traffic by revision',
          description: 'Share of new requests that each revision gets.',
          unit: 'percent',
          stacked: true,
          max: 100,
          queries: [
            {
              expr: gaugeBy('max', 'pilotlight_revision_traffic_percent', ['revision'], CHOSEN_SERVICE),
              legend: '{{revision}}',
            },
          ],
        },
      ],
    },
  ],
};
