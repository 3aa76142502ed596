import { z } from 'zod';

/**
 * Status of a service in KServe's shape, with what Pilotlight adds (`replicas`, `components.predictor.reason`).
 * It is written by the controller, so it has no defaults; in the CRD it is a subresource.
 */

const optional = z.exactOptional;
const timestamp = z.string().meta({ format: 'date-time' });

export const conditionSchema = z.object({
  type: z.string().max(317).describe('What the condition is about.'),
  status: z.enum(['True', 'False', 'Unknown']).describe('Whether it holds.'),
  severity: optional(z.enum(['Error', 'Warning', 'Info'])).describe(
    'How bad it is that it does not hold. Default: Error.',
  ),
  reason: optional(z.string().max(1_024)).describe('The reason in one word.'),
  message: optional(z.string().max(32_768)).describe('The reason in a sentence.'),
  lastTransitionTime: optional(timestamp).describe('Since when it has been so.'),
  observedGeneration: optional(z.int()).describe('Generation of the spec that it speaks of.'),
});
export type Condition = z.infer<typeof conditionSchema>;

const trafficSchema = z.object({
  revisionName: z.string().describe('Name of the revision.'),
  percent: z.int().min(0).max(100).describe('Its share of the requests.'),
  latestRevision: z.boolean().describe('Whether it is the one that the manifest asks for.'),
  tag: optional(z.string()).describe('Name under which it can be called on its own.'),
  url: optional(z.string()).describe('Where it can be called on its own.'),
});

const componentSchema = z.object({
  url: optional(z.string()).describe('Where callers reach it.'),
  latestCreatedRevision: optional(z.string()).describe('The revision that the manifest asks for.'),
  latestReadyRevision: optional(z.string()).describe('The newest revision that has loaded.'),
  latestRolledoutRevision: optional(z.string()).describe('The revision that had all of the traffic last.'),
  previousRolledoutRevision: optional(z.string()).describe('The one that had it before.'),
  traffic: optional(z.array(trafficSchema).max(40)).describe('How the requests are shared out.'),
});

const modelStateSchema = z.enum(['Pending', 'Standby', 'Loading', 'Loaded', 'FailedToLoad']);

const modelStatusSchema = z.object({
  transitionStatus: z
    .enum(['UpToDate', 'InProgress', 'BlockedByFailedLoad', 'InvalidSpec'])
    .describe('How far the revision is that the manifest asks for.'),
  states: optional(
    z.object({
      activeModelState: modelStateSchema.describe(
        'State of the revision that most requests go to. Standby: loads when a request comes.',
      ),
      targetModelState: optional(modelStateSchema).describe(
        'The same of the revision that the manifest asks for.',
      ),
    }),
  ).describe('What the model is doing.'),
  lastFailureInfo: optional(
    z.object({
      reason: z
        .enum(['ModelLoadFailed', 'RuntimeUnhealthy', 'NoSupportingRuntime', 'InvalidPredictorSpec'])
        .describe('What kind of failure it is.'),
      message: optional(z.string().max(32_768)).describe('The failure in a sentence.'),
      location: optional(z.string()).describe('Where it happened.'),
      modelRevisionName: optional(z.string()).describe('The revision that failed.'),
      time: optional(timestamp).describe('When it failed.'),
    }),
  ).describe('The last failure to load, while it stands.'),
  copies: optional(
    z.object({
      totalCopies: z.int().describe('Replicas that have loaded the model.'),
      failedCopies: z.int().describe('Starts in a row that have failed.'),
    }),
  ).describe('Replicas of the revision that the manifest asks for.'),
});

export const statusSchema = z.object({
  observedGeneration: optional(z.int()).describe('Generation of the spec that this status speaks of.'),
  url: optional(z.string()).describe('Where callers reach the service.'),
  address: optional(z.object({ url: z.string().describe('URL within the cluster.') })).describe(
    'Where callers within the cluster reach it.',
  ),
  components: optional(z.record(z.string(), componentSchema)).describe(
    'Revisions and traffic, under predictor.',
  ),
  conditions: optional(
    z
      .array(conditionSchema)
      .max(50)
      .meta({
        'x-kubernetes-list-type': 'map',
        'x-kubernetes-list-map-keys': ['type'],
      }),
  ).describe('Ready says whether the service answers; zero replicas that start on demand count as ready.'),
  modelStatus: optional(modelStatusSchema).describe('The model, in KServe’s words.'),
  replicas: optional(
    z.object({
      desired: z.int().min(0).describe('Replicas that the autoscaler wants.'),
      ready: z.int().min(0).describe('Replicas that take requests.'),
      starting: optional(z.int().min(0)).describe('Replicas on their way to ready.'),
      draining: optional(z.int().min(0)).describe('Replicas that finish their last requests.'),
    }),
  ).describe('Replicas of all revisions.'),
  scaling: optional(
    z.object({
      reason: z.string().max(4_096).describe('Why the autoscaler wants what it wants, in words and numbers.'),
      mode: optional(z.enum(['stable', 'panic'])).describe('panic: load has doubled within seconds.'),
      path: optional(z.enum(['proxied', 'direct'])).describe('Whether requests go through an activator.'),
      lastDecisionTime: optional(timestamp).describe('When it last decided.'),
    }),
  ).describe('The autoscaler’s last decision.'),
  lastColdStart: optional(
    z.object({
      durationMs: z.number().min(0).describe('From the arrival of the request to its answer, in ms.'),
      time: timestamp.describe('When it was over.'),
      phases: optional(z.record(z.string(), z.number())).describe('Length of each phase, in ms.'),
    }),
  ).describe('The last start that a request waited for.'),
});
export type InferenceServiceStatus = z.infer<typeof statusSchema>;
