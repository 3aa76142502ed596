import { z } from 'zod';
import { META_REFUSED } from './fields.ts';
import {
  API_GROUP,
  API_VERSION,
  type InferenceService,
  inferenceServiceSchema,
  KIND,
  specSchema,
} from './inference-service.ts';
import { type Problem, problemAt, toProblems } from './problems.ts';
import { structureProblem } from './structure.ts';
import { suggest } from './suggest.ts';
import { serviceWarnings } from './warnings.ts';

/**
 * The single source of an InferenceService's types, defaults and validation. The CRD's YAML is generated from
 * the same schema (generate.ts), so that the API server and a folder of manifests refuse the same things.
 */
export type { InferenceService } from './inference-service.ts';
export type { Problem } from './problems.ts';
export { canonicalJson, revisionSpec } from './revision-spec.ts';
export { parseRuntimeArguments, type RuntimeArguments } from './runtime-arguments.ts';
export type { Condition, InferenceServiceStatus } from './status.ts';
export { toManifest } from './to-manifest.ts';

export type ParseResult =
  | { ok: true; service: InferenceService; warnings: Problem[] }
  | { ok: false; problems: Problem[] };

/**
 * Validates an InferenceService as it comes from a manifest or the API server and fills in its defaults.
 * Nothing is dropped in silence: an unknown field is a problem, and what is accepted without having an effect
 * is a warning.
 */
export function parseInferenceService(value: unknown): ParseResult {
  const structure = structureProblem(value);
  if (structure !== undefined) return { ok: false, problems: [structure] };
  const kind = kindProblem(value);
  if (kind !== undefined) return { ok: false, problems: [kind] };
  const parsed = inferenceServiceSchema.safeParse(value, { reportInput: true });
  return parsed.success
    ? { ok: true, service: parsed.data, warnings: serviceWarnings(parsed.data, value) }
    : { ok: false, problems: toProblems(parsed.error.issues, { placesOf }) };
}

/** A wrong kind or version makes every other message noise, so it is the only one. */
function kindProblem(value: unknown): Problem | undefined {
  if (typeof value !== 'object' || value === null) return undefined;
  const { apiVersion, kind } = value as { apiVersion?: unknown; kind?: unknown };
  if (typeof apiVersion !== 'string' || apiVersion === API_VERSION) return undefined;
  const group = apiVersion.split('/')[0] ?? '';
  const isOurs = group === API_GROUP || ['serving.kserve.io', 'serving.kubeflow.org'].includes(group);
  if (isOurs && kind === KIND) {
    return problemAt(['apiVersion'], `change "${apiVersion}" to "${API_VERSION}"`);
  }
  const near = suggest(apiVersion, [API_VERSION]);
  const hint = near === undefined ? '' : `; did you mean "${near}"?`;
  return problemAt(
    ['apiVersion'],
    `expected "${API_VERSION}", got ${JSON.stringify(apiVersion.slice(0, 80))}${hint}`,
  );
}

let places: Map<string, string[]> | undefined;

/** Where a field of this name is known; the index is made when the first unknown field asks for it. */
function placesOf(fieldName: string): readonly string[] {
  if (places === undefined) {
    places = new Map();
    collectPlaces(z.toJSONSchema(specSchema, { io: 'input', unrepresentable: 'any' }), 'spec', places);
  }
  return places.get(fieldName) ?? [];
}

function collectPlaces(schema: unknown, path: string, into: Map<string, string[]>): void {
  if (typeof schema !== 'object' || schema === null) return;
  const { properties, items } = schema as { properties?: Record<string, unknown>; items?: unknown };
  for (const [name, property] of Object.entries(properties ?? {})) {
    // Neither a field that is refused nor the older way to write one is worth a hint.
    if (Object.hasOwn(property as object, META_REFUSED) || name === 'onnx') continue;
    const childPath = `${path}.${name}`;
    into.set(name, [...(into.get(name) ?? []), childPath]);
    collectPlaces(property, childPath, into);
  }
  collectPlaces(items, `${path}[]`, into);
}
