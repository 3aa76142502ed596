import { z } from 'zod';
import { ERROR_STATUS, type ErrorCode } from '../../contracts/errors.ts';
import * as protocol from '../../contracts/inference-protocol.ts';

type Json = Readonly<Record<string, unknown>>;

const HEADER_LENGTH = 'Inference-Header-Content-Length';

function ref(schema: z.ZodType): Json {
  const id = z.globalRegistry.get(schema)?.id;
  if (id === undefined) throw new TypeError('a schema of the protocol has no id');
  return { $ref: `#/components/schemas/${id}` };
}

/** Every schema that has a name, as JSON Schema 2020-12, which OpenAPI 3.1 takes as it is. */
function componentSchemas(): Json {
  const { schemas } = z.toJSONSchema(z.globalRegistry, {
    uri: (id) => `#/components/schemas/${id}`,
    unrepresentable: 'any',
  });
  const entries = Object.entries(schemas).map(([name, schema]) => {
    const { $schema: _dialect, $id: _id, id: _name, ...rest } = schema as Record<string, unknown>;
    return [name, rest] as const;
  });
  return Object.fromEntries(entries.toSorted(([a], [b]) => a.localeCompare(b)));
}

const json = (schema: z.ZodType): Json => ({ 'application/json': { schema: ref(schema) } });

/** Errors that a caller of the serving port may see; the stable codes are of `contracts/errors.ts`. */
const CODES: readonly ErrorCode[] = [
  'invalid-request',
  'bad-framing',
  'unknown-model',
  'body-timeout',
  'body-too-large',
  'wrong-service',
  'inference-failed',
  'internal',
  'unsupported',
  'server-busy',
  'not-ready',
  'draining',
  'load-failed',
  'inference-timeout',
  'unsupported-media-type',
  'transform-refused',
  'transform-failed',
  'transform-timeout',
];

/** By status, for `components`: each is referred to from many places. */
function errorResponses(): Json {
  const byStatus = new Map<number, ErrorCode[]>();
  for (const code of CODES) {
    const status = ERROR_STATUS[code];
    byStatus.set(status, [...(byStatus.get(status) ?? []), code]);
  }
  const entries = [...byStatus].toSorted(([a], [b]) => a - b);
  return Object.fromEntries([
    ...entries.map(([status, codes]) => [String(status), errorResponse(status, codes)]),
    ['other', { description: 'Another refusal.', content: json(protocol.errorBodySchema) }],
  ]);
}

function errorResponse(status: number, codes: readonly ErrorCode[]): Json {
  const retryAfter = { description: 'Seconds.', schema: { type: 'string', pattern: '^\\d+$' } };
  return {
    description: codes.join(', '),
    headers: {
      'pilotlight-error': {
        description: 'Stable code of the error.',
        required: true,
        schema: { type: 'string', enum: codes },
      },
      ...(status === 503 ? { 'retry-after': retryAfter } : {}),
    },
    content: json(protocol.errorBodySchema),
  };
}

/** The responses of an operation that may fail with these, or with what nobody foresees. */
function failures(codes: readonly ErrorCode[]): Json {
  const statuses = [...new Set(codes.map((code) => ERROR_STATUS[code]))].toSorted((a, b) => a - b);
  return Object.fromEntries([
    ...statuses.map((status) => [String(status), { $ref: `#/components/responses/${status}` }]),
    ['default', { $ref: '#/components/responses/other' }],
  ]);
}

const MODEL = {
  name: 'model',
  in: 'path',
  required: true,
  description: 'Name of the model; of a service, the service’s own name unless it says otherwise.',
  schema: { type: 'string', minLength: 1 },
};
const VERSION = {
  name: 'version',
  in: 'path',
  required: true,
  description: 'The version that is served; any other is 404.',
  schema: { type: 'string', minLength: 1 },
};

function reading(operationId: string, summary: string, schema: z.ZodType, codes: readonly ErrorCode[]): Json {
  return {
    get: {
      operationId,
      summary,
      responses: { 200: { description: 'OK', content: json(schema) }, ...failures(codes) },
    },
  };
}

const OF_A_MODEL: readonly ErrorCode[] = [
  'unknown-model',
  'wrong-service',
  'not-ready',
  'draining',
  'load-failed',
];

const BINARY = { schema: { type: 'string', contentMediaType: 'application/octet-stream' } };

function inference(operationId: string): Json {
  return {
    operationId,
    summary: 'Runs the model.',
    description: `JSON, or JSON followed by the tensors that have \`binary_data_size\`, in their order, little-endian and row-major, a 4-byte length before each element of BYTES. Header \`${HEADER_LENGTH}\` says how many bytes are JSON; 0 makes the whole body the data of the model’s one input.`,
    parameters: [
      {
        name: HEADER_LENGTH,
        in: 'header',
        required: false,
        description: 'Bytes of the JSON, when binary tensors follow it.',
        schema: { type: 'integer', minimum: 0 },
      },
    ],
    requestBody: {
      required: true,
      description: 'Content-Encoding gzip and deflate are taken.',
      content: { ...json(protocol.inferRequestSchema), 'application/octet-stream': BINARY },
    },
    responses: {
      200: {
        description: 'The outputs. Compressed when Accept-Encoding asks for it.',
        headers: {
          [HEADER_LENGTH]: {
            description: 'Bytes of the JSON, when binary tensors follow.',
            schema: { type: 'string' },
          },
          'server-timing': {
            description: 'Milliseconds in the queue and in the model.',
            schema: { type: 'string' },
          },
        },
        content: { ...json(protocol.inferResponseSchema), 'application/octet-stream': BINARY },
      },
      ...failures(CODES),
    },
  };
}

function health(operationId: string, summary: string): Json {
  return {
    get: {
      operationId,
      summary,
      responses: {
        200: { description: 'Yes.', content: json(protocol.readinessSchema) },
        503: { description: 'No.', content: json(protocol.readinessSchema) },
        default: { $ref: '#/components/responses/other' },
      },
    },
  };
}

/** The paths of one model, with the version in them or without. */
function modelPaths(prefix: string, suffix: string, parameters: readonly Json[]): Json {
  const of = (path: Json): Json => ({ parameters, ...path });
  return {
    [prefix]: of(
      reading(
        `modelMetadata${suffix}`,
        'What the model takes and gives.',
        protocol.modelMetadataSchema,
        OF_A_MODEL,
      ),
    ),
    [`${prefix}/ready`]: of(
      reading(
        `modelReady${suffix}`,
        'Whether the model can be used now.',
        protocol.readinessSchema,
        OF_A_MODEL,
      ),
    ),
    [`${prefix}/config`]: of(
      reading(
        `modelConfig${suffix}`,
        'The same in the words of Triton.',
        protocol.modelConfigSchema,
        OF_A_MODEL,
      ),
    ),
    [`${prefix}/stats`]: of(
      reading(
        `modelStatistics${suffix}`,
        'Where the time of its inferences went.',
        protocol.modelStatisticsSchema,
        OF_A_MODEL,
      ),
    ),
    [`${prefix}/infer`]: of({ post: inference(`modelInfer${suffix}`) }),
  };
}

/** The OpenAPI 3.1 document of the serving port. */
export function openApiDocument(version: string): Json {
  return {
    openapi: '3.1.0',
    info: {
      title: 'Pilotlight serving port',
      version,
      summary: 'Open Inference Protocol v2 and V1 over REST.',
      description:
        'What every service answers. Errors are `{"error": "…"}` with a stable code in header `pilotlight-error`. The same port speaks the protocol over gRPC.',
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    paths: {
      '/v2': reading('serverMetadata', 'What the server is and offers.', protocol.serverMetadataSchema, []),
      '/v2/health/live': health('serverLive', 'Whether the process answers.'),
      '/v2/health/ready': health('serverReady', 'Whether a model can be used.'),
      '/v2/models': reading('models', 'Names of the models.', protocol.modelListSchema, []),
      '/v2/models/stats': reading(
        'allStatistics',
        'Statistics of every model.',
        protocol.modelStatisticsSchema,
        [],
      ),
      ...modelPaths('/v2/models/{model}', '', [MODEL]),
      ...modelPaths('/v2/models/{model}/versions/{version}', 'OfVersion', [MODEL, VERSION]),
      '/v2/repository/index': {
        post: {
          operationId: 'repositoryIndex',
          summary: 'The models and their states.',
          requestBody: { required: false, content: json(protocol.repositoryIndexRequestSchema) },
          responses: {
            200: { description: 'OK', content: json(protocol.repositoryIndexSchema) },
            ...failures(['invalid-request', 'body-too-large', 'server-busy']),
          },
        },
      },
      '/v1/models': reading('modelsV1', 'Names of the models.', protocol.modelListSchema, []),
      '/v1/models/{model}': {
        parameters: [MODEL],
        ...reading(
          'modelReadyV1',
          'Whether the model can be used now.',
          protocol.readinessSchema,
          OF_A_MODEL,
        ),
      },
      '/v1/models/{model}:predict': {
        parameters: [MODEL],
        post: {
          operationId: 'predictV1',
          summary: 'Runs the model, by V1 of the protocol.',
          requestBody: { required: true, content: json(protocol.predictRequestSchema) },
          responses: {
            200: {
              description: 'The outputs, one element an instance.',
              content: json(protocol.predictResponseSchema),
            },
            ...failures(CODES),
          },
        },
      },
      '/openapi.json': {
        get: {
          operationId: 'openApi',
          summary: 'This document.',
          responses: {
            200: { description: 'OK', content: { 'application/json': { schema: { type: 'object' } } } },
            default: { $ref: '#/components/responses/other' },
          },
        },
      },
    },
    components: { schemas: componentSchemas(), responses: errorResponses() },
  };
}
