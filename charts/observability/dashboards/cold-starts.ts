import type { Dashboard } from '../grafana.ts';
import {
  bucketIncrease,
  bucketRate,
  gaugeBy,
  increaseBy,
  matching,
  mean,
  quantile,
  rateBy,
} from '../promql.ts';
import {
  CHOSEN_NAMESPACES,
  CHOSEN_SERVICES,
  NAMESPACE,
  POOL_LEGEND,
  SERVICE_LEGEND,
  SERVICES,
} from './variables.ts';

/** Counters as they stand: each replica's have one load in them. */
function gaugedSum(suffix: 'sum' | 'count'): string {
  return `sum by (phase) (pilotlight_runtime_model_load_seconds_${suffix}${matching(CHOSEN_SERVICES)})`;
}

const WAITED = { waited: 'true' } as const;

/** How long callers wait for a model that nobody has called, and why. */
export const COLD_STARTS: Dashboard = {
  uid: 'pilotlight-cold-starts',
  title: 'Pilotlight / Cold starts',
  description: 'How many, how long, and where the time goes; and the pools of standbys that make them short.',
  variables: [NAMESPACE, SERVICES],
  rows: [
    {
      title: 'All services',
      panels: [
        {
          kind: 'timeseries',
          title: 'Cold starts',
          description:
            'Starts that a request waited for: by a standby or a new pod, model cached or fetched.',
          unit: 'cps',
          stacked: true,
          queries: [
            {
              expr: rateBy('pilotlight_cold_start_seconds_count', ['via', 'model'], WAITED),
              legend: '{{via}}, {{model}}',
            },
          ],
        },
        {
          kind: 'timeseries',
          title: 'Time to the first answer, by kind',
          description: 'p95, from the arrival of the request to the first byte of its answer.',
          unit: 's',
          queries: [
            {
              expr: quantile(0.95, bucketRate('pilotlight_cold_start_seconds', ['via', 'model'], WAITED)),
              legend: '{{via}}, {{model}}',
            },
          ],
        },
        {
          kind: 'heatmap',
          title: 'How long they take',
          description: 'All cold starts that a request waited for.',
          unit: 's',
          expr: bucketIncrease('pilotlight_cold_start_seconds', WAITED),
        },
      ],
    },
    {
      title: 'Chosen services',
      panels: [
        {
          kind: 'timeseries',
          title: 'Phases',
          description:
            'Mean time of each phase, one on the other: they add up to the whole. Starts ahead of demand included.',
          unit: 's',
          stacked: true,
          queries: [
            {
              expr: mean('pilotlight_cold_start_phase_seconds', ['phase'], {
                phase: { notRe: 'total' },
                ...CHOSEN_SERVICES,
              }),
              legend: '{{phase}}',
            },
          ],
        },
        {
          kind: 'timeseries',
          title: 'Quantiles of the whole',
          description: 'Over the chosen services.',
          unit: 's',
          queries: [0.5, 0.9, 0.99].map((share) => ({
            expr: quantile(
              share,
              bucketRate('pilotlight_cold_start_phase_seconds', [], { phase: 'total', ...CHOSEN_SERVICES }),
            ),
            legend: `p${share * 100}`,
          })),
        },
        {
          kind: 'timeseries',
          title: 'p95 by service',
          description: 'The ten that take longest.',
          unit: 's',
          queries: [
            {
              expr: `topk(10, ${quantile(
                0.95,
                bucketRate('pilotlight_cold_start_phase_seconds', ['namespace', 'service'], {
                  phase: 'total',
                  ...CHOSEN_SERVICES,
                }),
              )})`,
              legend: SERVICE_LEGEND,
            },
          ],
        },
      ],
    },
    {
      title: 'In the range of time that is shown',
      panels: [
        {
          kind: 'table',
          title: 'Starts by service',
          description: 'How many there were, and how long they took on average.',
          labels: ['namespace', 'service'],
          linksToService: true,
          columns: [
            {
              title: 'Starts',
              unit: 'short',
              decimals: 0,
              expr: increaseBy(
                'pilotlight_cold_start_phase_seconds_count',
                ['namespace', 'service'],
                { phase: 'total', ...CHOSEN_SERVICES },
                '$__range',
              ),
            },
            {
              title: 'Mean',
              unit: 's',
              expr: mean(
                'pilotlight_cold_start_phase_seconds',
                ['namespace', 'service'],
                { phase: 'total', ...CHOSEN_SERVICES },
                '$__range',
              ),
            },
            {
              title: 'p95',
              unit: 's',
              expr: quantile(
                0.95,
                bucketRate(
                  'pilotlight_cold_start_phase_seconds',
                  ['namespace', 'service'],
                  { phase: 'total', ...CHOSEN_SERVICES },
                  '$__range',
                ),
              ),
            },
          ],
        },
        {
          kind: 'timeseries',
          title: 'Load of the model, by phase',
          description:
            'Mean of the replicas that are there, as they measured it themselves: fetched, created (the session), warmed, and ready for the whole. A replica loads once, so these are no rates.',
          unit: 's',
          queries: [
            {
              expr: `${gaugedSum('sum')} / ${gaugedSum('count')}`,
              legend: '{{phase}}',
            },
          ],
        },
      ],
    },
    {
      title: 'Pools',
      panels: [
        {
          kind: 'timeseries',
          title: 'Standbys by state',
          description:
            'ready: for whoever comes. held: for the service that they have left, until its callers know. serving: with a model.',
          unit: 'short',
          stacked: true,
          queries: [
            {
              expr: gaugeBy('sum', 'pilotlight_pool_standbys', ['state'], {
                state: { notRe: 'wanted' },
                ...CHOSEN_NAMESPACES,
              }),
              legend: '{{state}}',
            },
          ],
        },
        {
          kind: 'timeseries',
          title: 'Free standbys by pool',
          description: 'A pool that stays at 0 has cold starts that take a new pod.',
          unit: 'short',
          queries: [
            {
              expr: gaugeBy('sum', 'pilotlight_pool_standbys', ['namespace', 'pool'], {
                state: 'ready',
                ...CHOSEN_NAMESPACES,
              }),
              legend: POOL_LEGEND,
            },
          ],
        },
        {
          kind: 'timeseries',
          title: 'Back to a standby',
          description: 'p95, from the end of a replica that had served to a standby that waits for the next.',
          unit: 's',
          queries: [
            {
              expr: quantile(
                0.95,
                bucketRate('pilotlight_recycle_seconds', ['namespace', 'pool'], CHOSEN_NAMESPACES),
              ),
              legend: POOL_LEGEND,
            },
          ],
        },
        {
          kind: 'timeseries',
          title: 'Standbys that failed',
          description: 'Could not be started, or died while they waited.',
          unit: 'cps',
          queries: [
            {
              expr: rateBy('pilotlight_pool_failed_starts_total', ['namespace', 'pool'], CHOSEN_NAMESPACES),
              legend: POOL_LEGEND,
            },
          ],
        },
      ],
    },
  ],
};
