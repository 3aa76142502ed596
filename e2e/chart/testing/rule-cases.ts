import { RECORDED } from '../../../charts/observability/recording-rules.ts';

/**
 * What Prometheus has seen in 15 s steps, in promtool's notation (`0+30x40`: 0, 30, 60 … 41 values), and what follows.
 */
export interface RuleCase {
  readonly series: Readonly<Record<string, string>>;
  readonly at: string;
  readonly alerts: readonly ExpectedAlert[];
  /** The same series, but it has not lasted long enough. */
  readonly notYetAt?: string;
}

interface ExpectedAlert {
  /** Without its severity. */
  readonly labels: Readonly<Record<string, string>>;
  /** Its description, with the values in it. */
  readonly says: string;
}

interface Cases {
  readonly fires: RuleCase;
  readonly silent: Omit<RuleCase, 'alerts'>;
}

const OCR = { namespace: 'shop', service: 'ocr' } as const;
const SHOP_OCR = 'namespace="shop",service="ocr"';
const SHOP_POOL = 'namespace="shop",pool="default"';
const ACTIVATOR = { namespace: 'pilotlight-system', pod: 'activator-1' } as const;
const AT_ACTIVATOR = 'namespace="pilotlight-system",pod="activator-1"';
const requests = (code: string): string => `pilotlight_activator_requests_total{${SHOP_OCR},code="${code}"}`;
const phase = (le: string): string =>
  `pilotlight_cold_start_phase_seconds_bucket{${SHOP_OCR},via="new",phase="total",le="${le}"}`;
const cached = (le: string): string =>
  `pilotlight_cold_start_seconds_bucket{via="standby",model="cached",waited="true",le="${le}"}`;
const demand = (outcome: string): string =>
  `pilotlight_activator_demand_posts_total{${AT_ACTIVATOR},outcome="${outcome}"}`;
const admin = (outcome: string): string =>
  `pilotlight_admin_calls_total{call="specialise",outcome="${outcome}"}`;

export const RULE_CASES: Readonly<Record<string, Cases>> = {
  PilotlightControllerLeaderless: {
    fires: {
      series: { 'pilotlight_leader{pod="a"}': '1x10 0x40', 'pilotlight_leader{pod="b"}': '0x50' },
      notYetAt: '3m',
      at: '5m',
      alerts: [
        {
          labels: {},
          says: 'No controller has reported for a minute that it leads. What is warm is served on, but nothing is started, scaled or replaced.',
        },
      ],
    },
    silent: {
      series: { 'pilotlight_leader{pod="a"}': '1x40', 'pilotlight_leader{pod="b"}': '0x40' },
      at: '8m',
    },
  },
  PilotlightActivatorsMissing: {
    // Nothing at all is scraped.
    fires: {
      series: { up: '1x40' },
      notYetAt: '30s',
      at: '5m',
      alerts: [
        {
          labels: {},
          says: 'No activator has been scraped for a minute. Requests to services at zero have nowhere to go.',
        },
      ],
    },
    silent: { series: { [`pilotlight_activator_connections{${AT_ACTIVATOR}}`]: '0x40' }, at: '8m' },
  },
  PilotlightRoutesStale: {
    fires: {
      series: { [`pilotlight_activator_routes_age_seconds{${AT_ACTIVATOR}}`]: '1x10 15+15x40' },
      notYetAt: '3m30s',
      at: '8m',
      alerts: [
        {
          labels: ACTIVATOR,
          says: 'Activator activator-1 has not heard of the controller for 5m 30s; a heartbeat comes each 2 s. It serves on with the last routes and learns of no new replica.',
        },
      ],
    },
    silent: {
      // Found another controller within half a minute.
      series: { [`pilotlight_activator_routes_age_seconds{${AT_ACTIVATOR}}`]: '1x10 15 29 2x40' },
      at: '8m',
    },
  },
  PilotlightDemandNotTaken: {
    fires: {
      series: { [demand('failed')]: '0+60x40', [demand('taken')]: '0+30x40' },
      notYetAt: '1m30s',
      at: '8m',
      alerts: [
        {
          labels: ACTIVATOR,
          says: '66.67% of the demand reports of activator activator-1 fail. The controller does not learn that somebody waits, so services at zero stay there.',
        },
      ],
    },
    silent: { series: { [demand('failed')]: '0+1x40', [demand('taken')]: '0+60x40' }, at: '8m' },
  },
  PilotlightErrorsHigh: {
    fires: {
      series: { [requests('200')]: '0+90x60', [requests('503')]: '0+10x60' },
      notYetAt: '4m',
      at: '12m',
      alerts: [
        {
          labels: OCR,
          says: '10% of the requests to shop/ocr have been answered with a 5xx for five minutes.',
        },
      ],
    },
    silent: {
      // Callers' own mistakes don't count, nor do those who left.
      series: {
        [requests('200')]: '0+90x60',
        [requests('400')]: '0+50x60',
        [requests('499')]: '0+50x60',
        [requests('502')]: '0+1x60',
      },
      at: '12m',
    },
  },
  PilotlightQueueFilling: {
    fires: {
      series: {
        [`pilotlight_activator_queue_requests{${SHOP_OCR},pod="a"}`]: '0x4 95x40',
        [`pilotlight_activator_queue_limit_requests{${SHOP_OCR},pod="a"}`]: '100x44',
        // The other activator's queue is empty: one that is full refuses all the same.
        [`pilotlight_activator_queue_requests{${SHOP_OCR},pod="b"}`]: '0x44',
        [`pilotlight_activator_queue_limit_requests{${SHOP_OCR},pod="b"}`]: '100x44',
      },
      notYetAt: '1m30s',
      at: '5m',
      alerts: [
        {
          labels: OCR,
          says: 'The queue of shop/ocr is 95% full in one activator. Beyond that requests are refused with 503 queue-full.',
        },
      ],
    },
    silent: {
      series: {
        [`pilotlight_activator_queue_requests{${SHOP_OCR},pod="a"}`]: '50x44',
        [`pilotlight_activator_queue_limit_requests{${SHOP_OCR},pod="a"}`]: '100x44',
        // A service that has no queue.
        'pilotlight_activator_queue_requests{namespace="shop",service="vad",pod="a"}': '0x44',
        'pilotlight_activator_queue_limit_requests{namespace="shop",service="vad",pod="a"}': '0x44',
      },
      at: '8m',
    },
  },
  PilotlightColdStartSlow: {
    fires: {
      series: { [phase('10')]: '0x90', [phase('60')]: '0+1x90', [phase('+Inf')]: '0+1x90' },
      notYetAt: '3m',
      at: '20m',
      alerts: [
        {
          labels: OCR,
          says: 'One start in twenty of shop/ocr takes 57.5s or more. Callers wait as long, and get 504 beyond the service’s start timeout.',
        },
      ],
    },
    silent: {
      series: { [phase('10')]: '0+1x90', [phase('60')]: '0+1x90', [phase('+Inf')]: '0+1x90' },
      at: '20m',
    },
  },
  PilotlightCachedColdStartSlow: {
    fires: {
      series: { [cached('2')]: '0x160', [cached('5')]: '0+1x160', [cached('+Inf')]: '0+1x160' },
      notYetAt: '5m',
      at: '35m',
      alerts: [
        {
          labels: {},
          says: 'One in twenty cold starts of a standby with the model in its cache takes 4.85s or more; they are meant to take tenths of a second. That points at nodes, not at a model.',
        },
      ],
    },
    silent: {
      series: { [cached('2')]: '0+1x160', [cached('5')]: '0+1x160', [cached('+Inf')]: '0+1x160' },
      at: '35m',
    },
  },
  PilotlightModelLoadFailing: {
    fires: {
      series: { [`pilotlight_service_state{${SHOP_OCR},state="Failed"}`]: '1x40' },
      notYetAt: '1m',
      at: '5m',
      alerts: [
        {
          labels: { ...OCR, state: 'Failed' },
          says: 'shop/ocr is Failed: its newest revision does not load.',
        },
      ],
    },
    silent: { series: { [`pilotlight_service_state{${SHOP_OCR},state="Standby"}`]: '1x40' }, at: '5m' },
  },
  PilotlightReplicasMissing: {
    fires: {
      series: {
        [`pilotlight_replicas{${SHOP_OCR},state="wanted"}`]: '3x80',
        [`pilotlight_replicas{${SHOP_OCR},state="ready"}`]: '1x80',
      },
      notYetAt: '9m',
      at: '15m',
      alerts: [
        {
          labels: OCR,
          says: 'shop/ocr has lacked 2 ready replicas for ten minutes: pods that no node takes, an image that cannot be pulled, a container that does not start.',
        },
      ],
    },
    silent: {
      // More than wanted while one is drained.
      series: {
        [`pilotlight_replicas{${SHOP_OCR},state="wanted"}`]: '0x80',
        [`pilotlight_replicas{${SHOP_OCR},state="ready"}`]: '1x80',
      },
      at: '15m',
    },
  },
  PilotlightReplicasCrashing: {
    fires: {
      series: { [`pilotlight_replica_crashes_total{${SHOP_OCR}}`]: '0x20 1x8 2x8 3x8 4x40' },
      notYetAt: '6m',
      at: '14m',
      alerts: [{ labels: OCR, says: 'Replicas of shop/ocr have ended unasked 4 times within 15 minutes.' }],
    },
    silent: { series: { [`pilotlight_replica_crashes_total{${SHOP_OCR}}`]: '0x20 1x60' }, at: '14m' },
  },
  PilotlightPoolEmpty: {
    fires: {
      series: {
        [`pilotlight_pool_standbys{${SHOP_POOL},state="wanted"}`]: '2x80',
        [`pilotlight_pool_standbys{${SHOP_POOL},state="ready"}`]: '0x80',
        [`pilotlight_pool_standbys{${SHOP_POOL},state="starting"}`]: '2x80',
      },
      notYetAt: '4m',
      at: '8m',
      alerts: [
        {
          labels: { namespace: 'shop', pool: 'default' },
          says: 'Pool shop/default has had no free standby for five minutes. Cold starts in its namespace take seconds, since a pod has to be made for each.',
        },
      ],
    },
    silent: {
      series: {
        [`pilotlight_pool_standbys{${SHOP_POOL},state="wanted"}`]: '2x80',
        [`pilotlight_pool_standbys{${SHOP_POOL},state="ready"}`]: '1x80',
        // A pool that is to have none.
        'pilotlight_pool_standbys{namespace="shop",pool="off",state="wanted"}': '0x80',
        'pilotlight_pool_standbys{namespace="shop",pool="off",state="ready"}': '0x80',
      },
      at: '8m',
    },
  },
  PilotlightStandbysFailing: {
    fires: {
      series: { [`pilotlight_pool_failed_starts_total{${SHOP_POOL}}`]: '0x20 0+1x8 8x40' },
      notYetAt: '5m',
      at: '10m',
      alerts: [
        {
          labels: { namespace: 'shop', pool: 'default' },
          says: '8 standbys of pool shop/default have failed within 15 minutes.',
        },
      ],
    },
    silent: { series: { [`pilotlight_pool_failed_starts_total{${SHOP_POOL}}`]: '0x20 1x60' }, at: '10m' },
  },
  PilotlightAdminCallsFailing: {
    fires: {
      series: { [admin('failed')]: '0+1x120', [admin('ok')]: '0+4x120', [admin('refused')]: '0x120' },
      notYetAt: '8m',
      at: '25m',
      alerts: [
        {
          labels: { call: 'specialise' },
          says: '20% of the specialise calls to replicas fail. Starts are tried again elsewhere and take longer, replicas that leave are ended instead of reused.',
        },
      ],
    },
    silent: {
      series: { [admin('failed')]: '0x120', [admin('ok')]: '0+4x120', [admin('refused')]: '0+4x120' },
      at: '25m',
    },
  },
  PilotlightReconcileErrors: {
    fires: {
      series: { 'pilotlight_reconcile_errors_total{operation="writeStatus"}': '0+2x120' },
      notYetAt: '8m',
      at: '20m',
      alerts: [
        {
          labels: { operation: 'writeStatus' },
          says: 'Operation writeStatus of the controller fails 0.13 times a second and is tried again.',
        },
      ],
    },
    silent: {
      series: { 'pilotlight_reconcile_errors_total{operation="writeStatus"}': '0x40 3x80' },
      at: '20m',
    },
  },
};

const expected = (record: string, value: number, labels = SHOP_OCR): object => ({
  labels: `${record}{${labels}}`,
  value,
});
const runtime = (service: string): string =>
  `pilotlight_runtime_requests_total{namespace="shop",service="${service}",protocol="rest",code="ok"}`;

/** Of the recorded series, in promtool's own words. A step of 15 each 15 s is a rate of 1/s. */
export const UNITS: readonly object[] = [
  {
    name: 'requests are those of the activators, of the replicas in direct mode, and never counted twice',
    interval: '15s',
    input_series: [
      { series: requests('200'), values: '0+15x60' },
      { series: requests('503'), values: '0+15x60' },
      { series: runtime('ocr'), values: '0+15x60' },
      { series: runtime('direct'), values: '0+30x60' },
    ],
    promql_expr_test: [
      {
        expr: RECORDED.requests,
        eval_time: '10m',
        exp_samples: [
          expected(RECORDED.requests, 2),
          expected(RECORDED.requests, 2, 'namespace="shop",service="direct"'),
        ],
      },
      { expr: RECORDED.errorRatio, eval_time: '10m', exp_samples: [expected(RECORDED.errorRatio, 0.5)] },
    ],
  },
  {
    name: 'a service without errors has a ratio of 0, one without requests has none',
    interval: '15s',
    input_series: [
      { series: requests('200'), values: '0+15x60' },
      {
        series: 'pilotlight_activator_requests_total{namespace="shop",service="idle",code="200"}',
        values: '7x60',
      },
    ],
    promql_expr_test: [
      { expr: RECORDED.errorRatio, eval_time: '10m', exp_samples: [expected(RECORDED.errorRatio, 0)] },
    ],
  },
];
