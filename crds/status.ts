import { z } from 'zod';

/**
 * Status of a service in KServe's shape, with what Pilotlight adds (`replicas`, `components.predictor.reason`).
 * It is written by the controller, so it has no defaults; in the CRD it is a subresource.
 */

const optional = z.exactOptional;
const timestamp = z.string().meta({ format: 'date-time' });

export const conditionSchema = z.object({
  type: z.string().max(317),
  status: z.enum(['True', 'False', 'Unknown']),
  severity: optional(z.enum(['Error', 'Warning', 'Info'])),
  reason: optional(z.string().max(1_024)),
  message: optional(z.string().max(32_768)),
  lastTransitionTime: optional(timestamp),
  observedGeneration: optional(z.int()),
});
export type Condition = z.infer<typeof conditionSchema>;

const trafficSchema = z.object({
  revisionName: z.string(),
  percent: z.int().min(0).max(100),
  latestRevision: z.boolean(),
  tag: optional(z.string()),
});

const componentSchema = z.object({
  url: optional(z.string()),
  latestCreatedRevision: optional(z.string()),
  latestReadyRevision: optional(z.string()),
  latestRolledoutRevision: optional(z.string()),
  previousRolledoutRevision: optional(z.string()),
  traffic: optional(z.array(trafficSchema).max(10)),
});

const modelStateSchema = z.enum(['Pending', 'Standby', 'Loading', 'Loaded', 'FailedToLoad']);

const modelStatusSchema = z.object({
  transitionStatus: z.enum(['UpToDate', 'InProgress', 'BlockedByFailedLoad', 'InvalidSpec']),
  states: optional(
    z.object({
      activeModelState: modelStateSchema.describe('Standby: loads when a request comes.'),
      targetModelState: optional(modelStateSchema),
    }),
  ),
  lastFailureInfo: optional(
    z.object({
      reason: z.enum(['ModelLoadFailed', 'RuntimeUnhealthy', 'NoSupportingRuntime', 'InvalidPredictorSpec']),
      message: optional(z.string().max(32_768)),
      location: optional(z.string()),
      modelRevisionName: optional(z.string()),
      time: optional(timestamp),
    }),
  ),
  copies: optional(z.object({ totalCopies: z.int(), failedCopies: z.int() })),
});

export const statusSchema = z.object({
  observedGeneration: optional(z.int()),
  url: optional(z.string()),
  address: optional(z.object({ url: z.string() })),
  components: optional(z.record(z.string(), componentSchema)),
  conditions: optional(
    z
      .array(conditionSchema)
      .max(50)
      .meta({
        'x-kubernetes-list-type': 'map',
        'x-kubernetes-list-map-keys': ['type'],
      }),
  ),
  modelStatus: optional(modelStatusSchema),
  replicas: optional(
    z.object({
      desired: z.int().min(0),
      ready: z.int().min(0),
      starting: optional(z.int().min(0)),
      draining: optional(z.int().min(0)),
    }),
  ),
  scaling: optional(
    z.object({
      reason: z.string().max(4_096).describe('Why the autoscaler wants what it wants, in words and numbers.'),
      mode: optional(z.enum(['stable', 'panic'])),
      path: optional(z.enum(['proxied', 'direct'])),
      lastDecisionTime: optional(timestamp),
    }),
  ),
  lastColdStart: optional(
    z.object({
      durationMs: z.number().min(0),
      time: timestamp,
      phases: optional(z.record(z.string(), z.number())),
    }),
  ),
});
export type InferenceServiceStatus = z.infer<typeof statusSchema>;
