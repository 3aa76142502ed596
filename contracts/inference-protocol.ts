import { z } from 'zod';
import { DATATYPES } from './datatypes.ts';

/**
 * The JSON of the Open Inference Protocol v2 and of V1, as services speak it: what clients of ours hold answers
 * against, and what the OpenAPI document is generated from. The runtime reads requests byte by byte instead
 * (`runtime/core/oip-json.ts`) and is held against these by its tests. Objects are open: the protocol lets either
 * side add fields.
 */

const text = (description: string) => z.string().describe(description);
const whole = () => z.int().nonnegative();

const datatypeSchema = z
  .enum(DATATYPES)
  .meta({ id: 'Datatype', description: 'FP16 goes as binary data only. BF16 is answered 501.' });

const parametersSchema = z
  .record(z.string(), z.union([z.string(), z.number(), z.boolean()]))
  .meta({ id: 'Parameters', description: 'Of a request: come back in the response.' });

const shapeSchema = z.array(whole()).max(32).describe('Sizes of the dimensions; empty for a scalar.');

const tensorDataSchema = z.union([z.array(z.unknown()), z.number(), z.string(), z.boolean()]).meta({
  id: 'TensorData',
  description:
    'The elements in row-major order, flat or nested as the shape; a scalar may stand bare. NaN, Infinity and -Infinity stand as such, as Python writes them, or as texts; 64-bit integers have all their digits.',
});

const inferInputSchema = z
  .looseObject({
    name: text('Name of an input of the model.'),
    shape: shapeSchema,
    datatype: datatypeSchema,
    parameters: parametersSchema
      .optional()
      .describe('`binary_data_size`: bytes of this tensor behind the JSON, instead of `data`.'),
    data: tensorDataSchema.optional(),
  })
  .meta({ id: 'InferInput' });

const requestedOutputSchema = z
  .looseObject({
    name: text('Name of an output of the model.'),
    parameters: parametersSchema.optional().describe('`binary_data`: true for binary data, false for JSON.'),
  })
  .meta({ id: 'RequestedOutput' });

export const inferRequestSchema = z
  .looseObject({
    id: z.string().optional().describe('Comes back in the response.'),
    parameters: parametersSchema
      .optional()
      .describe(
        '`binary_data_output`: how outputs come that do not say themselves. `priority`: a whole number, 1 is the highest and larger ones are lower; 0 is the default, which stands at 100.',
      ),
    inputs: z.array(inferInputSchema).max(1024),
    outputs: z
      .array(requestedOutputSchema)
      .max(1024)
      .optional()
      .describe('All outputs of the model when empty or absent.'),
  })
  .meta({ id: 'InferRequest' });

const outputTensorSchema = z
  .looseObject({
    name: z.string(),
    datatype: datatypeSchema,
    shape: shapeSchema,
    parameters: z
      .looseObject({ binary_data_size: whole().optional() })
      .optional()
      .describe('`binary_data_size`: bytes of this tensor behind the JSON, instead of `data`.'),
    data: z.array(z.unknown()).optional().describe('Flat, in row-major order.'),
  })
  .meta({ id: 'OutputTensor' });

export const inferResponseSchema = z
  .looseObject({
    model_name: z.string(),
    model_version: z.string().optional(),
    id: z.string().optional(),
    parameters: parametersSchema.optional(),
    outputs: z.array(outputTensorSchema),
  })
  .meta({ id: 'InferResponse' });

export const errorBodySchema = z
  .looseObject({ error: text('What was expected, what came, and what to do.') })
  .meta({ id: 'Error' });

export const serverMetadataSchema = z
  .looseObject({ name: z.string(), version: z.string(), extensions: z.array(z.string()) })
  .meta({ id: 'ServerMetadata' });

const tensorMetadataSchema = z
  .looseObject({
    name: z.string(),
    datatype: datatypeSchema,
    shape: z.array(z.int().min(-1)).describe('-1 for a dimension that a request chooses.'),
  })
  .meta({ id: 'TensorMetadata' });

export const modelMetadataSchema = z
  .looseObject({
    name: z.string(),
    versions: z.array(z.string()).optional(),
    platform: z.string(),
    inputs: z.array(tensorMetadataSchema),
    outputs: z.array(tensorMetadataSchema),
  })
  .meta({ id: 'ModelMetadata' });

export const readinessSchema = z
  .looseObject({ ready: z.boolean(), live: z.boolean(), name: z.string().optional() })
  .meta({ id: 'Readiness', description: 'Both keys say the same: clients differ in which one they read.' });

const configTensorSchema = z
  .looseObject({
    name: z.string(),
    data_type: text('TYPE_FP32 and so on; TYPE_STRING for BYTES.'),
    dims: z.array(z.int().min(-1)).describe('Without the batch dimension when max_batch_size is above 0.'),
  })
  .meta({ id: 'ConfigTensor' });

export const modelConfigSchema = z
  .looseObject({
    name: z.string(),
    platform: z.string(),
    backend: z.string(),
    max_batch_size: whole(),
    input: z.array(configTensorSchema),
    output: z.array(configTensorSchema),
    instance_group: z
      .array(z.looseObject({ kind: z.enum(['KIND_CPU', 'KIND_GPU']), count: whole() }))
      .optional()
      .describe('The sessions of the model.'),
    dynamic_batching: z
      .looseObject({ max_queue_delay_microseconds: whole() })
      .optional()
      .describe('Present where requests are put together.'),
  })
  .meta({ id: 'ModelConfig' });

const durationSchema = z
  .looseObject({ count: whole(), ns: whole() })
  .meta({ id: 'StatisticDuration', description: 'Cumulative, since the model was loaded.' });

export const modelStatisticsSchema = z
  .looseObject({
    model_stats: z.array(
      z
        .looseObject({
          name: z.string(),
          version: z.string(),
          last_inference: whole().describe('Milliseconds since 1970; 0 before the first one.'),
          inference_count: whole(),
          execution_count: whole(),
          inference_stats: z.looseObject({
            success: durationSchema,
            fail: durationSchema,
            queue: durationSchema,
            compute_input: durationSchema,
            compute_infer: durationSchema,
            compute_output: durationSchema,
          }),
          batch_stats: z
            .array(
              z.looseObject({
                batch_size: whole(),
                compute_input: durationSchema,
                compute_infer: durationSchema,
                compute_output: durationSchema,
              }),
            )
            .optional()
            .describe('Runs by the size of their batches.'),
        })
        .meta({ id: 'ModelStatistics' }),
    ),
  })
  .meta({ id: 'StatisticsResponse' });

export const repositoryIndexSchema = z
  .array(
    z
      .looseObject({
        name: z.string(),
        version: z.string(),
        state: z.enum(['READY', 'UNAVAILABLE']),
        reason: z.string(),
      })
      .meta({ id: 'RepositoryEntry' }),
  )
  .meta({ id: 'RepositoryIndex' });

export const repositoryIndexRequestSchema = z
  .looseObject({ ready: z.boolean().optional().describe('True: only models that can be used now.') })
  .meta({ id: 'RepositoryIndexRequest' });

export const modelListSchema = z.looseObject({ models: z.array(z.string()) }).meta({ id: 'ModelList' });

export const predictRequestSchema = z
  .union([
    z.looseObject({
      instances: z
        .array(z.unknown())
        .min(1)
        .describe('One element an example: a value, or an object of inputs by name.'),
    }),
    z.looseObject({
      inputs: z.unknown().describe('Whole tensors: one value, or an object of inputs by name.'),
    }),
  ])
  .meta({ id: 'PredictRequest' });

export const predictResponseSchema = z
  .union([z.looseObject({ predictions: z.array(z.unknown()) }), z.looseObject({ outputs: z.unknown() })])
  .meta({ id: 'PredictResponse' });
