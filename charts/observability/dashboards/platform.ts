import type { Dashboard } from '../grafana.ts';
import { gauge, gaugeBy, matching, quantile, rateBy } from '../promql.ts';
import { RECORDED } from '../recording-rules.ts';
import { CHOSEN_NAMESPACES, NAMESPACE, SERVICE_LEGEND } from './variables.ts';

const CHOSEN = matching(CHOSEN_NAMESPACES);
const NONE_IS_BAD = [{ color: 'red' }, { color: 'green', from: 1 }] as const;

/** The whole at a glance, for whoever operates it. */
export const PLATFORM: Dashboard = {
  uid: 'pilotlight-platform',
  title: 'Pilotlight / Platform',
  description: 'Requests, queues, activators and controllers of the whole platform.',
  variables: [NAMESPACE],
  rows: [
    {
      title: 'Now',
      panels: [
        {
          kind: 'stat',
          title: 'Controllers that lead',
          description: 'One. Nothing is started or scaled while there is none.',
          unit: 'none',
          queries: [{ expr: gaugeBy('sum', 'pilotlight_leader', []), legend: 'leaders' }],
          thresholds: [...NONE_IS_BAD, { color: 'red', from: 2 }],
        },
        {
          kind: 'stat',
          title: 'Activators with routes',
          description: 'Open streams of routes at the leader; as many as there are activators.',
          unit: 'none',
          queries: [{ expr: gaugeBy('max', 'pilotlight_activators', []), legend: 'activators' }],
          thresholds: NONE_IS_BAD,
        },
        {
          kind: 'stat',
          title: 'Services that serve',
          description: 'Services with a ready replica.',
          unit: 'none',
          queries: [
            {
              expr: `count(sum by (namespace, service) (${gauge('pilotlight_replicas', { state: 'ready', ...CHOSEN_NAMESPACES })}) > 0)`,
              legend: 'serving',
            },
          ],
        },
        {
          kind: 'stat',
          title: 'Requests per second',
          description: 'Of all clients, over the last five minutes.',
          unit: 'reqps',
          queries: [{ expr: `sum(${RECORDED.requests}${CHOSEN})`, legend: 'requests' }],
        },
        {
          kind: 'stat',
          title: 'Requests that wait',
          description: 'In the queues of all activators, for a replica.',
          unit: 'none',
          queries: [
            { expr: gaugeBy('sum', 'pilotlight_queued_requests', [], CHOSEN_NAMESPACES), legend: 'waiting' },
          ],
        },
        {
          kind: 'stat',
          title: 'Free standbys',
          description: 'Started pods without a model that anybody may take.',
          unit: 'none',
          queries: [
            {
              expr: gaugeBy('sum', 'pilotlight_pool_standbys', [], { state: 'ready', ...CHOSEN_NAMESPACES }),
              legend: 'standbys',
            },
          ],
        },
      ],
    },
    {
      title: 'Requests',
      panels: [
        {
          kind: 'timeseries',
          title: 'Requests by status',
          description:
            'As their callers saw them; 499 are callers that left before. Direct mode passes by here.',
          unit: 'reqps',
          stacked: true,
          queries: [
            {
              expr: rateBy('pilotlight_activator_requests_total', ['code'], CHOSEN_NAMESPACES),
              legend: '{{code}}',
            },
          ],
        },
        {
          kind: 'timeseries',
          title: 'Answers of the activators’ own',
          description:
            'By error code: queue-full, start-timeout, load-failed … Each has its line in the table of errors.',
          unit: 'reqps',
          queries: [{ expr: rateBy('pilotlight_activator_refusals_total', ['error']), legend: '{{error}}' }],
        },
        {
          kind: 'timeseries',
          title: 'Latency',
          description: 'From the arrival of a request to the end of its answer, cold starts included.',
          unit: 's',
          queries: [0.5, 0.95, 0.99].map((share) => ({
            expr: quantile(share, `sum by (le) (${RECORDED.durationBuckets}${CHOSEN})`),
            legend: `p${share * 100}`,
          })),
        },
      ],
    },
    {
      title: 'Trouble',
      panels: [
        {
          kind: 'timeseries',
          title: 'Share of errors by service',
          description: 'The ten services with the most 5xx in relation to their requests.',
          unit: 'percentunit',
          queries: [{ expr: `topk(10, ${RECORDED.errorRatio}${CHOSEN})`, legend: SERVICE_LEGEND }],
        },
        {
          kind: 'timeseries',
          title: 'Queues',
          description: 'The ten services with the longest queues.',
          unit: 'short',
          queries: [
            {
              expr: `topk(10, ${gaugeBy('sum', 'pilotlight_activator_queue_requests', ['namespace', 'service'], CHOSEN_NAMESPACES)})`,
              legend: SERVICE_LEGEND,
            },
          ],
        },
        {
          kind: 'timeseries',
          title: 'Services by state',
          description: 'Standby is scaled to zero and healthy.',
          unit: 'short',
          stacked: true,
          queries: [
            {
              expr: gaugeBy('sum', 'pilotlight_service_state', ['state'], CHOSEN_NAMESPACES),
              legend: '{{state}}',
            },
          ],
        },
        {
          kind: 'timeseries',
          title: 'Starts that failed',
          description: 'By error code of the load, or by the reason that Kubernetes gives.',
          unit: 'cps',
          queries: [
            {
              expr: rateBy('pilotlight_failed_starts_total', ['code'], CHOSEN_NAMESPACES),
              legend: '{{code}}',
            },
          ],
        },
      ],
    },
    {
      title: 'Activators',
      panels: [
        {
          kind: 'timeseries',
          title: 'Age of the routes',
          description: 'Since an activator last heard of the controller: 2 s at most while all is well.',
          unit: 's',
          queries: [
            {
              expr: gaugeBy('max', 'pilotlight_activator_routes_age_seconds', ['pod']),
              legend: '{{pod}}',
            },
          ],
        },
        {
          kind: 'timeseries',
          title: 'Demand reports that failed',
          description: 'The controller did not take them; what they said is in the next one.',
          unit: 'cps',
          queries: [
            {
              expr: rateBy('pilotlight_activator_demand_posts_total', ['pod'], { outcome: 'failed' }),
              legend: '{{pod}}',
            },
          ],
        },
        {
          kind: 'timeseries',
          title: 'Attempts at replicas that broke',
          description: 'By kind; most are given to another replica and the caller sees nothing of it.',
          unit: 'cps',
          queries: [
            {
              expr: rateBy('pilotlight_activator_upstream_errors_total', ['kind'], CHOSEN_NAMESPACES),
              legend: '{{kind}}',
            },
          ],
        },
        {
          kind: 'timeseries',
          title: 'Connections',
          description: 'Open ones of clients.',
          unit: 'short',
          queries: [{ expr: gaugeBy('sum', 'pilotlight_activator_connections', ['pod']), legend: '{{pod}}' }],
        },
      ],
    },
    {
      title: 'Controllers',
      panels: [
        {
          kind: 'timeseries',
          title: 'Who leads',
          description: '1 for the controller that leads.',
          unit: 'none',
          max: 1,
          queries: [{ expr: gaugeBy('max', 'pilotlight_leader', ['pod']), legend: '{{pod}}' }],
        },
        {
          kind: 'timeseries',
          title: 'Looks at services',
          description: 'By their cause: a tick, waiting requests, or news of a replica.',
          unit: 'ops',
          queries: [{ expr: rateBy('pilotlight_reconcile_seconds_count', ['cause']), legend: '{{cause}}' }],
        },
        {
          kind: 'timeseries',
          title: 'Operations that failed',
          description: 'They are tried again. "watch" are calls to the Kubernetes API beside the others.',
          unit: 'cps',
          queries: [
            { expr: rateBy('pilotlight_reconcile_errors_total', ['operation']), legend: '{{operation}}' },
          ],
        },
        {
          kind: 'timeseries',
          title: 'Calls to replicas that failed',
          description: 'Calls to their admin ports that had no answer, or a wrong one.',
          unit: 'cps',
          queries: [
            {
              expr: rateBy('pilotlight_admin_calls_total', ['call'], { outcome: 'failed' }),
              legend: '{{call}}',
            },
          ],
        },
      ],
    },
    {
      title: 'Processes',
      panels: [
        {
          kind: 'timeseries',
          title: 'CPU',
          description: 'Cores, of controllers and activators.',
          unit: 'short',
          queries: [
            {
              expr: rateBy('pilotlight_process_cpu_seconds_total', ['component', 'pod'], {
                component: { notRe: 'runtime' },
              }),
              legend: '{{pod}}',
            },
          ],
        },
        {
          kind: 'timeseries',
          title: 'Memory',
          description: 'Resident, of controllers and activators.',
          unit: 'bytes',
          queries: [
            {
              expr: gaugeBy('sum', 'pilotlight_process_resident_memory_bytes', ['component', 'pod'], {
                component: { notRe: 'runtime' },
              }),
              legend: '{{pod}}',
            },
          ],
        },
        {
          kind: 'timeseries',
          title: 'Event loop',
          description: 'Time in which a process could not react, p99; requests wait for it.',
          unit: 's',
          queries: [
            {
              expr: gaugeBy('max', 'pilotlight_nodejs_eventloop_lag_p99_seconds', ['component', 'pod'], {
                component: { notRe: 'runtime' },
              }),
              legend: '{{pod}}',
            },
          ],
        },
      ],
    },
  ],
};
