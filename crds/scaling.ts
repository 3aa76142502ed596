import { z } from 'zod';
import { duration, fields, META_REFUSED, optional, quantity, refuse } from './fields.ts';
import { scheduleSchema } from './schedules.ts';

const queueSchema = fields({
  maxRequests: z
    .int()
    .min(0)
    .max(1_000_000)
    .default(10_000)
    .describe('Requests that may wait for a replica at each activator; more get 503.'),
  maxBytes: quantity()
    .prefault('4Gi')
    .describe(
      'Body bytes that the waiting requests at each activator may announce together (Content-Length); more get 503.',
    ),
});

/**
 * How a service scales: Knative's autoscaler settings under their own names and with their own defaults, and
 * what goes beyond them. Durations are strings here and milliseconds in the parsed form.
 */
export const scalingSchema = fields({
  stableWindow: duration({ min: '6s', max: '1h' })
    .prefault('60s')
    .describe(
      'Window over which load is averaged in quiet times; also how long a service is idle before it goes to zero.',
    ),
  panicWindowPercentage: z
    .number()
    .min(1)
    .max(100)
    .default(10)
    .describe('Length of the panic window in percent of the stable window; at least 1 s.'),
  panicThresholdPercentage: z
    .number()
    .min(110)
    .max(1_000)
    .default(200)
    .describe('Panic begins when the panic window wants this many percent of the ready replicas.'),
  maxScaleUpRate: z.number().gt(1).max(1_000_000).default(1_000).describe('Largest factor of one scale-up.'),
  maxScaleDownRate: z.number().gt(1).max(1_000_000).default(2).describe('Largest divisor of one scale-down.'),
  targetUtilizationPercentage: z
    .number()
    .min(1)
    .max(100)
    .default(70)
    .describe('Share of a replica’s capacity that the autoscaler aims at.'),
  scaleToZeroGracePeriod: duration({ max: '1h' })
    .prefault('30s')
    .describe(
      'Longest time that the last replica waits for traffic to be led to the activator before it goes.',
    ),
  scaleToZeroRetention: duration({ max: '24h' })
    .prefault('0s')
    .describe('Least time that the last replica stays after the autoscaler decided for zero.'),
  keepAlive: duration({ max: '168h' })
    .prefault('0s')
    .describe('Least time that the last replica stays after the last request ended.'),
  scaleDownDelay: duration({ max: '1h' })
    .prefault('0s')
    .describe('A scale-down is carried out once it has been wanted for this long.'),
  initialScale: z
    .int()
    .min(0)
    .max(10_000)
    .default(1)
    .describe('Replicas that a new revision starts with; 0: none.'),
  activationScale: z
    .int()
    .min(1)
    .max(10_000)
    .default(1)
    .describe('Replicas that a scale-up from zero starts with.'),
  startTimeout: duration({ min: '1s', max: '1h' })
    .prefault('120s')
    .describe('Longest time that a request waits for a replica, and a replica for its model.'),
  queue: queueSchema.prefault({}).describe('Bounds of what waits for a replica.'),
  burstCapacity: z
    .int()
    .min(-1)
    .max(1_000_000)
    .default(211)
    .describe(
      'Free capacity from which the activator leaves the path; 0: only at zero replicas in it, -1: always in it.',
    ),
  schedules: optional(z.array(scheduleSchema).min(1).max(50))
    .describe('Floors for the replicas by time of day.')
    .meta({ [META_REFUSED]: 'not-supported-yet' }),
  retryAll: z
    .boolean()
    .default(false)
    .describe(
      'Also retry requests that are not inference calls, once, after bytes were sent to a replica that failed.',
    ),
})
  .superRefine((scaling, context) => {
    if (scaling.schedules !== undefined) refuse(context, { refusal: 'not-supported-yet' }, ['schedules']);
  })
  .transform(
    ({
      stableWindow,
      scaleToZeroGracePeriod,
      scaleToZeroRetention,
      keepAlive,
      scaleDownDelay,
      startTimeout,
      queue,
      schedules,
      ...rest
    }) => ({
      ...rest,
      stableWindowMs: stableWindow,
      scaleToZeroGracePeriodMs: scaleToZeroGracePeriod,
      scaleToZeroRetentionMs: scaleToZeroRetention,
      keepAliveMs: keepAlive,
      scaleDownDelayMs: scaleDownDelay,
      startTimeoutMs: startTimeout,
      queue: { maxRequests: queue.maxRequests, maxBytes: Math.floor(queue.maxBytes) },
      schedules: schedules ?? [],
    }),
  );

/** `spec.predictor.scaling` in its parsed form: every default filled in, durations in milliseconds. */
export type ScalingSpec = z.output<typeof scalingSchema>;
