import { stringify } from 'yaml';
import { z } from 'zod';
import { API_GROUP, KIND, MAX_NAME_LENGTH, specSchema } from './inference-service.ts';
import { NAME_PATTERN } from './metadata.ts';
import { statusSchema } from './status.ts';
import { type StructuralSchema, toStructural } from './structural-schema.ts';

/** The CustomResourceDefinition of InferenceService, made from the schema alone. */
export function inferenceServiceCrd(): Record<string, unknown> {
  return {
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'CustomResourceDefinition',
    metadata: { name: `inferenceservices.${API_GROUP}` },
    spec: {
      group: API_GROUP,
      scope: 'Namespaced',
      names: {
        kind: KIND,
        listKind: `${KIND}List`,
        plural: 'inferenceservices',
        singular: 'inferenceservice',
        shortNames: ['isvc'],
        categories: ['all'],
      },
      versions: [
        {
          name: 'v1alpha1',
          served: true,
          storage: true,
          subresources: { status: {} },
          additionalPrinterColumns: PRINTER_COLUMNS,
          schema: { openAPIV3Schema: rootSchema() },
        },
      ],
    },
  };
}

/** The CRD as the YAML text that is committed. */
export function inferenceServiceCrdYaml(): string {
  const header =
    '# Generated from crds/schema.ts by `node crds/generate.ts`: change the schema, not this file.\n';
  return header + stringify(inferenceServiceCrd(), { aliasDuplicateObjects: false, lineWidth: 0 });
}

const PRINTER_COLUMNS = [
  { name: 'URL', type: 'string', jsonPath: '.status.url' },
  { name: 'Ready', type: 'string', jsonPath: ".status.conditions[?(@.type=='Ready')].status" },
  { name: 'Model', type: 'string', jsonPath: '.status.modelStatus.states.activeModelState' },
  { name: 'Replicas', type: 'integer', jsonPath: '.status.replicas.ready' },
  { name: 'Wanted', type: 'integer', jsonPath: '.status.replicas.desired' },
  { name: 'Revision', type: 'string', jsonPath: '.status.components.predictor.latestReadyRevision' },
  {
    name: 'Reason',
    type: 'string',
    priority: 1,
    jsonPath: ".status.conditions[?(@.type=='Ready')].message",
  },
  { name: 'Age', type: 'date', jsonPath: '.metadata.creationTimestamp' },
];

function rootSchema(): StructuralSchema {
  const spec = toStructural(jsonSchemaOf(specSchema), 'spec');
  const predictor = (spec['properties'] as Record<string, StructuralSchema>)['predictor'];
  if (predictor === undefined) throw new TypeError('the schema has no spec.predictor');
  predictor['x-kubernetes-validations'] = [
    ...((predictor['x-kubernetes-validations'] as unknown[] | undefined) ?? []),
    ...PREDICTOR_RULES,
  ];
  return {
    description:
      'A model, or a container of the user’s own, that is served over HTTP and gRPC and goes to zero when idle.',
    type: 'object',
    required: ['spec'],
    properties: {
      apiVersion: { type: 'string' },
      kind: { type: 'string' },
      metadata: {
        type: 'object',
        properties: { name: { type: 'string', pattern: NAME_PATTERN, maxLength: MAX_NAME_LENGTH } },
      },
      spec,
      status: toStructural(jsonSchemaOf(statusSchema), 'status'),
    },
  };
}

/** What inference-service.ts checks across fields, for the API server. */
const PREDICTOR_RULES = [
  {
    rule: '[has(self.model), has(self.onnx), has(self.containers)].filter(given, given).size() == 1',
    message: 'expected exactly one of model, onnx and containers',
  },
  {
    rule: 'self.maxReplicas == 0 || self.maxReplicas >= self.minReplicas',
    message: 'expected maxReplicas of at least minReplicas, or 0',
  },
];

function jsonSchemaOf(schema: z.ZodType): unknown {
  return z.toJSONSchema(schema, { io: 'input', target: 'openapi-3.0', unrepresentable: 'any' });
}
