import type { Dashboard, Variable } from '../grafana.ts';
import { gaugeBy, increaseBy, matching, rateBy } from '../promql.ts';
import { RECORDED } from '../recording-rules.ts';
import {
  CHOSEN_NAMESPACES,
  CHOSEN_SERVICES,
  NAMESPACE,
  POOL_LEGEND,
  SERVICE_LEGEND,
  SERVICES,
} from './variables.ts';

const PRICE: Variable = {
  kind: 'text',
  name: 'price',
  label: 'Price of a GiB-hour',
  value: '0.005',
  description:
    'What a GiB of memory costs in an hour on your nodes, in whatever currency; all costs are in it.',
};

const SERVICE = ['namespace', 'service'] as const;
const POOL = ['namespace', 'pool'] as const;
const GIB = 1024 ** 3;
const GIB_HOUR = GIB * 3600;
const RANGE = '$__range';

/** Over the range of time that is shown. */
const replicaSeconds = increaseBy('pilotlight_replica_seconds_total', SERVICE, CHOSEN_SERVICES, RANGE);
const byteSeconds = increaseBy(
  'pilotlight_replica_memory_byte_seconds_total',
  SERVICE,
  CHOSEN_SERVICES,
  RANGE,
);
const standbyByteSeconds = increaseBy(
  'pilotlight_standby_memory_byte_seconds_total',
  POOL,
  CHOSEN_NAMESPACES,
  RANGE,
);
const requests = `(avg_over_time(${RECORDED.requests}${matching(CHOSEN_SERVICES)}[${RANGE}]) * $__range_s > 0)`;

/** What serving takes up, in pods, memory and money. */
export const CAPACITY: Dashboard = {
  uid: 'pilotlight-capacity',
  title: 'Pilotlight / Capacity and cost',
  description:
    'Replicas, memory requests and what they cost, by service, and the standbys that wait for all. Costs are memory requests times a price: what a node is paid for, used or not.',
  variables: [NAMESPACE, SERVICES, PRICE],
  rows: [
    {
      title: 'In the range of time that is shown',
      panels: [
        {
          kind: 'stat',
          title: 'Cost of replicas',
          description: 'Memory that replicas of the chosen services requested, at the price above.',
          unit: 'none',
          queries: [{ expr: `sum(${byteSeconds}) / ${GIB_HOUR} * $price`, legend: 'replicas' }],
        },
        {
          kind: 'stat',
          title: 'Cost of standbys',
          description: 'Memory that idle standbys requested: the price of short cold starts.',
          unit: 'none',
          queries: [{ expr: `sum(${standbyByteSeconds}) / ${GIB_HOUR} * $price`, legend: 'standbys' }],
        },
        {
          kind: 'stat',
          title: 'Cost of 1,000 requests',
          description: 'Replicas and standbys by requests.',
          unit: 'none',
          queries: [
            {
              expr: `(sum(${byteSeconds}) + sum(${standbyByteSeconds})) / ${GIB_HOUR} * $price / sum(${requests}) * 1000`,
              legend: 'for 1,000',
            },
          ],
        },
        {
          kind: 'stat',
          title: 'Utilisation',
          description: 'Requests at replicas now, of those that the ready replicas take at once.',
          unit: 'percentunit',
          queries: [
            {
              expr: `${gaugeBy('sum', 'pilotlight_in_flight_requests', [], CHOSEN_SERVICES)} / (${gaugeBy('sum', 'pilotlight_ready_capacity_requests', [], CHOSEN_SERVICES)} > 0)`,
              legend: 'utilisation',
            },
          ],
        },
      ],
    },
    {
      title: 'By service',
      panels: [
        {
          kind: 'table',
          title: 'Services',
          description: 'Sums over the range of time that is shown.',
          labels: SERVICE,
          linksToService: true,
          width: 24,
          columns: [
            {
              title: 'Requests',
              unit: 'short',
              decimals: 0,
              expr: `sum by (namespace, service) ${requests}`,
            },
            { title: 'Replica-seconds', unit: 's', decimals: 0, expr: replicaSeconds },
            {
              title: 'Requests per replica-second',
              unit: 'none',
              decimals: 2,
              expr: `sum by (namespace, service) ${requests} / (${replicaSeconds} > 0)`,
            },
            {
              title: 'GiB-seconds for 1,000 requests',
              unit: 'none',
              decimals: 1,
              expr: `${byteSeconds} / ${GIB} / sum by (namespace, service) ${requests} * 1000`,
            },
            { title: 'Cost', unit: 'none', decimals: 4, expr: `${byteSeconds} / ${GIB_HOUR} * $price` },
            {
              title: 'Cost of 1,000 requests',
              unit: 'none',
              decimals: 4,
              expr: `${byteSeconds} / ${GIB_HOUR} * $price / sum by (namespace, service) ${requests} * 1000`,
            },
          ],
        },
      ],
    },
    {
      title: 'Over time',
      panels: [
        {
          kind: 'timeseries',
          title: 'Replicas by service',
          description: 'On average, from start to end; the ten services with the most.',
          unit: 'short',
          stacked: true,
          queries: [
            {
              expr: `topk(10, ${rateBy('pilotlight_replica_seconds_total', SERVICE, CHOSEN_SERVICES)})`,
              legend: SERVICE_LEGEND,
            },
          ],
        },
        {
          kind: 'timeseries',
          title: 'Idle standbys by pool',
          description: 'On average.',
          unit: 'short',
          stacked: true,
          queries: [
            {
              expr: rateBy('pilotlight_standby_seconds_total', POOL, CHOSEN_NAMESPACES),
              legend: POOL_LEGEND,
            },
          ],
        },
        {
          kind: 'timeseries',
          title: 'Memory requested',
          description: 'By replicas of the chosen services and by idle standbys.',
          unit: 'bytes',
          stacked: true,
          queries: [
            {
              expr: rateBy('pilotlight_replica_memory_byte_seconds_total', [], CHOSEN_SERVICES),
              legend: 'replicas',
            },
            {
              expr: rateBy('pilotlight_standby_memory_byte_seconds_total', [], CHOSEN_NAMESPACES),
              legend: 'standbys',
            },
          ],
        },
        {
          kind: 'timeseries',
          title: 'Utilisation by service',
          description: 'Requests at replicas, of those that they take at once.',
          unit: 'percentunit',
          queries: [
            {
              expr: `${gaugeBy('sum', 'pilotlight_in_flight_requests', SERVICE, CHOSEN_SERVICES)} / (${gaugeBy('sum', 'pilotlight_ready_capacity_requests', SERVICE, CHOSEN_SERVICES)} > 0)`,
              legend: SERVICE_LEGEND,
            },
          ],
        },
      ],
    },
  ],
};
