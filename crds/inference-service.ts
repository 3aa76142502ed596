import { z } from 'zod';
import { durationOrSeconds, fields, optional, refuse, refused, text, unsupported } from './fields.ts';
import { metadataSchema } from './metadata.ts';
import { type ModelSpec, modelSchema, OTHER_FRAMEWORKS, onnxSchema, otherFrameworkShape } from './model.ts';
import { type Container, containerSchema, podShape } from './pod-fields.ts';
import { MAX_BATCH_SIZE } from './runtime-arguments.ts';
import { scalingSchema } from './scaling.ts';

export const API_GROUP = 'serving.pilotlight.dev';
export const API_VERSION = `${API_GROUP}/v1alpha1`;
export const KIND = 'InferenceService';

/**
 * Longest name of a service. Names of pods add revision, slot and incarnation and must stay a DNS label of
 * 63 characters: 45 + "-00001" + "-0000" + "-00000" = 62.
 */
export const MAX_NAME_LENGTH = 45;

const SCALE_METRICS_LATER = new Set(['cpu', 'memory']);

const scaleMetric = z
  .enum(['concurrency', 'rps', 'cpu', 'memory'])
  .superRefine((metric, context) => {
    if (SCALE_METRICS_LATER.has(metric)) {
      refuse(context, {
        refusal: 'not-supported-yet',
        value: `"${metric}"`,
        instead: 'concurrency and rps are',
      });
    }
  })
  .default('concurrency')
  .describe('What the autoscaler counts: requests at once, or requests per second.')
  .meta({
    'x-kubernetes-validations': [
      {
        rule: "self in ['concurrency', 'rps']",
        message: 'not supported yet: spec.predictor.scaleMetric cpu and memory (concurrency and rps are)',
      },
    ],
  }) as unknown as z.ZodDefault<z.ZodEnum<{ concurrency: 'concurrency'; rps: 'rps' }>>;

/** KServe's own words, and its unit of time. */
const batcherSchema = fields({
  maxBatchSize: z
    .int()
    .min(1)
    .max(MAX_BATCH_SIZE)
    .default(32)
    .describe('Rows (the first dimension of the inputs) that one run takes at most; 1: no batching.'),
  maxLatency: z
    .int()
    .min(0)
    .max(60_000)
    .default(0)
    .describe('Milliseconds that a batch may wait to fill while the model has nothing to do.'),
  timeout: refused(
    'integer',
    'not supported: spec.predictor.batcher.timeout; spec.predictor.timeout bounds each request, the wait for its batch included',
  ),
});

const predictorSchema = fields({
  model: optional(modelSchema).describe('A model that Pilotlight’s own runtime serves.'),
  onnx: optional(onnxSchema).describe('Older way to write model with modelFormat {name: onnx}.'),
  ...otherFrameworkShape,
  containers: optional(z.array(containerSchema).min(1))
    .describe('A container of your own that serves HTTP, instead of a model.')
    .meta({ maxItems: 1 }),
  minReplicas: z.int().min(0).max(10_000).default(0).describe('0 lets the service go to zero.'),
  maxReplicas: z.int().min(0).max(10_000).default(0).describe('0: no bound.'),
  scaleTarget: optional(z.int().min(1).max(1_000_000)).describe(
    'Load per replica that the autoscaler aims at: requests at once, or per second.',
  ),
  scaleMetric,
  containerConcurrency: z
    .int()
    .min(0)
    .max(1_000)
    .default(0)
    .describe('Requests at once that one replica takes; 0: as many as the runtime reports.'),
  timeout: durationOrSeconds({ min: '1ms', max: '24h' })
    .prefault(300)
    .describe('Longest time that a replica may take for a request: whole seconds or a duration.'),
  canaryTrafficPercent: optional(z.int().min(0).max(100)).describe(
    'Share of the traffic that the latest revision gets; the rest stays with the one before.',
  ),
  scaling: scalingSchema.prefault({}).describe('Settings of the autoscaler, the queue and the cold start.'),
  labels: optional(z.record(text(317), text(63))).describe('Labels of the replicas’ pods.'),
  annotations: optional(z.record(text(317), text(65_536))).describe('Annotations of the replicas’ pods.'),
  ...podShape,
  batcher: optional(batcherSchema).describe(
    'How requests are put together to one run of the model. Without it they are where the model names its batch dimension and a trial shows a gain.',
  ),
  logger: unsupported('object'),
  workerSpec: unsupported('object'),
  autoScaling: unsupported('object'),
  scaleMetricType: unsupported('string'),
  deploymentStrategy: unsupported('object'),
  storageUris: unsupported('array'),
})
  .superRefine((predictor, context) => {
    const given = (['model', 'onnx', 'containers'] as const).filter((name) => predictor[name] !== undefined);
    const isOtherFramework = OTHER_FRAMEWORKS.some((name) => predictor[name] !== undefined);
    if (given.length !== 1 && !isOtherFramework) {
      const found = given.length === 0 ? 'none of them' : given.join(' and ');
      const message = `expected exactly one of model, onnx and containers, got ${found}`;
      refuse(context, { refusal: 'message', message }, given.slice(1));
    }
    if (predictor.containers !== undefined && predictor.containers.length > 1) {
      refuse(context, { refusal: 'not-supported-yet' }, ['containers', 1]);
    }
    if (predictor.batcher !== undefined && predictor.containers !== undefined) {
      const message = 'only requests for a model are put together; leave it out beside containers';
      refuse(context, { refusal: 'message', message }, ['batcher']);
    }
    if (predictor.maxReplicas !== 0 && predictor.maxReplicas < predictor.minReplicas) {
      const message = `expected at least minReplicas (${predictor.minReplicas}) or 0, got ${predictor.maxReplicas}`;
      refuse(context, { refusal: 'message', message }, ['maxReplicas']);
    }
  })
  .transform(({ model, onnx, containers, timeout, ...rest }) => {
    const workload: Workload =
      containers === undefined
        ? {
            model: model ?? {
              modelFormat: { name: 'onnx' as const },
              ...(onnx as Omit<ModelSpec, 'modelFormat'>),
            },
          }
        : { containers: containers as [Container] };
    return { ...rest, timeoutMs: timeout, ...workload };
  });

/** What a replica runs: a model in our runtime, or one container of the user's own. */
type Workload = { model: ModelSpec; containers?: undefined } | { model?: undefined; containers: [Container] };

export const specSchema = fields({
  predictor: predictorSchema.describe('What answers the requests.'),
  transformer: unsupported('object'),
  explainer: unsupported('object'),
});

export const inferenceServiceSchema = fields({
  apiVersion: z.literal(API_VERSION),
  kind: z.literal(KIND),
  metadata: metadataSchema(MAX_NAME_LENGTH),
  spec: specSchema,
  status: optional(z.unknown()),
}).transform(({ status: _status, ...rest }) => rest);

/** A service in its parsed form: defaults filled in, durations in milliseconds, quantities as numbers. */
export type InferenceService = z.output<typeof inferenceServiceSchema>;
/** A service as a manifest writes it. */
export type InferenceServiceInput = z.input<typeof inferenceServiceSchema>;
