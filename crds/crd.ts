import { stringify } from 'yaml';
import { z } from 'zod';
import { API_GROUP, KIND, MAX_NAME_LENGTH, specSchema } from './inference-service.ts';
import { NAME_PATTERN } from './metadata.ts';
import { MAX_POOL_NAME_LENGTH, POOL_KIND, poolSpecSchema, poolStatusSchema } from './standby-pool.ts';
import { statusSchema } from './status.ts';
import { type StructuralSchema, toStructural, type Validation } from './structural-schema.ts';

type Column = Record<'name' | 'type' | 'jsonPath', string> & { priority?: number };

/** What a CustomResourceDefinition is made from. */
interface CrdSource {
  kind: string;
  /** Lower case. */
  plural: string;
  shortName: string;
  categories: readonly string[];
  description: string;
  maxNameLength: number;
  columns: readonly Column[];
  spec: z.ZodType;
  specDescription: string;
  isSpecRequired: boolean;
  status: z.ZodType;
  statusDescription: string;
  /** What the schema checks across fields, for the API server, by the path of the node that the rules stand on. */
  rules: Readonly<Record<string, readonly Validation[]>>;
}

const conditionOf = (type: string, field: string): string =>
  `.status.conditions[?(@.type=='${type}')].${field}`;
const AGE: Column = { name: 'Age', type: 'date', jsonPath: '.metadata.creationTimestamp' };
const REASON: Column = {
  name: 'Reason',
  type: 'string',
  priority: 1,
  jsonPath: conditionOf('Ready', 'message'),
};

const INFERENCE_SERVICE: CrdSource = {
  kind: KIND,
  plural: 'inferenceservices',
  shortName: 'isvc',
  categories: ['all'],
  description:
    'A model, or a container of the user’s own, that is served over HTTP and gRPC and goes to zero when idle.',
  maxNameLength: MAX_NAME_LENGTH,
  columns: [
    { name: 'URL', type: 'string', jsonPath: '.status.url' },
    { name: 'Ready', type: 'string', jsonPath: conditionOf('Ready', 'status') },
    { name: 'State', type: 'string', jsonPath: '.status.modelStatus.states.activeModelState' },
    { name: 'Replicas', type: 'integer', jsonPath: '.status.replicas.ready' },
    { name: 'Revision', type: 'string', jsonPath: '.status.components.predictor.latestReadyRevision' },
    { name: 'Wanted', type: 'integer', priority: 1, jsonPath: '.status.replicas.desired' },
    REASON,
    AGE,
  ],
  spec: specSchema,
  specDescription: 'What is to be served, and how it scales.',
  isSpecRequired: true,
  status: statusSchema,
  statusDescription: 'What the controller has found and done; written by it alone.',
  rules: {
    predictor: [
      {
        rule: '[has(self.model), has(self.onnx), has(self.containers)].filter(given, given).size() == 1',
        message: 'expected exactly one of model, onnx and containers',
      },
      {
        rule: 'self.maxReplicas == 0 || self.maxReplicas >= self.minReplicas',
        message: 'expected at least minReplicas, or 0 for no bound',
        fieldPath: '.maxReplicas',
      },
      {
        rule: '!has(self.batcher) || !has(self.containers)',
        message: 'only requests for a model are put together; leave it out beside containers',
        fieldPath: '.batcher',
      },
    ],
  },
};

const STANDBY_POOL: CrdSource = {
  kind: POOL_KIND,
  plural: 'standbypools',
  shortName: 'pool',
  categories: [],
  description:
    'Started, generic pods without a model. A service of the same namespace that fits takes one within milliseconds instead of starting a pod of its own.',
  maxNameLength: MAX_POOL_NAME_LENGTH,
  columns: [
    { name: 'Size', type: 'integer', jsonPath: '.spec.size' },
    { name: 'Ready', type: 'integer', jsonPath: '.status.ready' },
    { name: 'Starting', type: 'integer', jsonPath: '.status.starting' },
    { name: 'Serving', type: 'integer', jsonPath: '.status.serving' },
    { name: 'Quarantined', type: 'integer', priority: 1, jsonPath: '.status.quarantined' },
    REASON,
    AGE,
  ],
  spec: poolSpecSchema,
  specDescription:
    'How many standbys, and what they are: a service fits whose own pods would be no different.',
  isSpecRequired: false,
  status: poolStatusSchema,
  statusDescription: 'What there is of the pool; written by the controller alone.',
  rules: {
    cache: [
      {
        rule: '[has(self.emptyDir), has(self.hostPath), has(self.persistentVolumeClaim)].filter(given, given).size() <= 1',
        message: 'expected at most one of emptyDir, hostPath and persistentVolumeClaim',
      },
    ],
  },
};

/** The CustomResourceDefinition of InferenceService, made from the schema alone. */
export const inferenceServiceCrd = (): Record<string, unknown> => crdOf(INFERENCE_SERVICE);
/** The CustomResourceDefinition of StandbyPool, made from the schema alone. */
export const standbyPoolCrd = (): Record<string, unknown> => crdOf(STANDBY_POOL);

/** The CRDs as the YAML texts that are committed, by the name of their file. */
export function crdFiles(): Record<string, string> {
  return Object.fromEntries(
    [INFERENCE_SERVICE, STANDBY_POOL].map((source) => [
      `${source.plural}.${API_GROUP}.yaml`,
      HEADER + stringify(crdOf(source), { aliasDuplicateObjects: false, lineWidth: 0 }),
    ]),
  );
}

const HEADER =
  '# Generated from the schemas in crds/ by `node crds/generate.ts`: change those, not this file.\n';

function crdOf(source: CrdSource): Record<string, unknown> {
  const { kind, plural, categories } = source;
  return {
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'CustomResourceDefinition',
    metadata: { name: `${plural}.${API_GROUP}` },
    spec: {
      group: API_GROUP,
      scope: 'Namespaced',
      names: {
        kind,
        listKind: `${kind}List`,
        plural,
        singular: kind.toLowerCase(),
        shortNames: [source.shortName],
        ...(categories.length > 0 && { categories }),
      },
      versions: [
        {
          name: 'v1alpha1',
          served: true,
          storage: true,
          subresources: { status: {} },
          additionalPrinterColumns: source.columns,
          schema: { openAPIV3Schema: rootSchema(source) },
        },
      ],
    },
  };
}

function rootSchema(source: CrdSource): StructuralSchema {
  const spec = toStructural(jsonSchemaOf(source.spec), 'spec');
  const properties = spec['properties'] as Record<string, StructuralSchema>;
  for (const [name, rules] of Object.entries(source.rules)) {
    const node = properties[name];
    if (node === undefined) throw new TypeError(`the schema of ${source.kind} has no spec.${name}`);
    const before = (node['x-kubernetes-validations'] as Validation[] | undefined) ?? [];
    node['x-kubernetes-validations'] = [...before, ...rules];
  }
  return {
    description: source.description,
    type: 'object',
    ...(source.isSpecRequired && { required: ['spec'] }),
    properties: {
      apiVersion: { description: 'Version of the schema: serving.pilotlight.dev/v1alpha1.', type: 'string' },
      kind: { description: `${source.kind}.`, type: 'string' },
      // The API server takes nothing else about metadata here, not even a description.
      metadata: {
        type: 'object',
        properties: {
          name: {
            description: `Lower-case letters, digits and "-", at most ${source.maxNameLength} characters.`,
            type: 'string',
            pattern: NAME_PATTERN,
            maxLength: source.maxNameLength,
          },
        },
      },
      spec: {
        description: source.specDescription,
        ...(source.isSpecRequired ? {} : { default: {} }),
        ...spec,
      },
      status: {
        description: source.statusDescription,
        ...toStructural(jsonSchemaOf(source.status), 'status'),
      },
    },
  };
}

function jsonSchemaOf(schema: z.ZodType): unknown {
  return z.toJSONSchema(schema, { io: 'input', target: 'openapi-3.0', unrepresentable: 'any' });
}
