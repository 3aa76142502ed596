import { z } from 'zod';
import { modelIdentitySchema } from '../../../../contracts/admin.ts';
import { API_GROUP } from '../../../../crds/inference-service.ts';
import {
  canonicalJson,
  type InferenceService,
  parseInferenceService,
  revisionSpec,
  toManifest,
} from '../../../../crds/schema.ts';
import { STORAGE_SECRET_ANNOTATIONS } from '../../../../crds/storage-secret.ts';
import type { StoredRevision } from '../../../ports.ts';
import type { ControllerRevision } from './kube-types.ts';
import { LABELS, MANAGED_BY, ownedByService } from './labels.ts';

/**
 * A revision as a ControllerRevision of its service. Its `data` can't be changed once it is written (the API server
 * sees to that), so it holds what makes the revision and nothing else. What becomes known later, and the settings
 * that change without a new revision, stand in annotations. Nothing that was resolved from Secrets is written:
 * environment and credentials are read anew from where they belong.
 */

const ANNOTATION = {
  specHash: `${API_GROUP}/spec-hash`,
  generation: `${API_GROUP}/generation`,
  settings: `${API_GROUP}/settings`,
  identity: `${API_GROUP}/model-identity`,
  everReady: `${API_GROUP}/ever-ready`,
  rolledOutAt: `${API_GROUP}/rolled-out-at-ms`,
  failure: `${API_GROUP}/failure`,
  createdAt: `${API_GROUP}/created-at-ms`,
} as const;

/** All annotations of an object may have 256 KiB together; an identity beyond this is asked from the store again. */
const MAX_IDENTITY_LENGTH = 128 * 1024;
/** Annotations of a service that say how its revisions run. */
const KEPT_ANNOTATIONS: readonly string[] = STORAGE_SECRET_ANNOTATIONS;

/** A revision as it is stored: all but what is resolved from other objects. */
export interface RevisionOnRecord extends Omit<StoredRevision, 'resolved'> {
  readonly uid: string;
  readonly generation: number;
  readonly service: InferenceService;
}

/**
 * @param data That of the object which is there already. A later version of Pilotlight may write the same revision
 *   in other words, which the API server would refuse.
 */
export function revisionObject(revision: StoredRevision, data?: unknown): ControllerRevision {
  const { resolved, number, name, identity, failure, rolledOutAtMs } = revision;
  const { metadata } = resolved.service;
  const identityText = identity === undefined ? undefined : JSON.stringify(identity);
  return {
    apiVersion: 'apps/v1',
    kind: 'ControllerRevision',
    metadata: {
      namespace: metadata.namespace,
      name,
      labels: {
        [LABELS.managedBy]: MANAGED_BY,
        [LABELS.service]: metadata.name,
        [LABELS.revision]: name,
      },
      annotations: {
        [ANNOTATION.specHash]: revision.specHash,
        [ANNOTATION.generation]: String(resolved.generation),
        [ANNOTATION.settings]: settingsOf(resolved.service),
        [ANNOTATION.everReady]: String(revision.everReady),
        [ANNOTATION.createdAt]: String(revision.createdAtMs),
        ...(identityText !== undefined &&
          identityText.length <= MAX_IDENTITY_LENGTH && { [ANNOTATION.identity]: identityText }),
        ...(rolledOutAtMs !== undefined && { [ANNOTATION.rolledOutAt]: String(rolledOutAtMs) }),
        ...(failure !== undefined && { [ANNOTATION.failure]: JSON.stringify(failure) }),
      },
      ownerReferences: [ownedByService({ name: metadata.name, uid: resolved.uid })],
    },
    revision: number,
    data: data ?? revisionData(resolved.service),
  };
}

type Fields = Record<string, unknown>;

/** The predictor as a manifest writes it, in two parts: what makes a revision, and what changes without a new one. */
function partsOf(service: InferenceService): { revised: Fields; settings: Fields } {
  const inRevision = new Set(Object.keys(revisionSpec(service)));
  const predictor = Object.entries(toManifest(service).spec.predictor);
  return {
    revised: Object.fromEntries(predictor.filter(([field]) => inRevision.has(field))),
    // `timeout` is `timeoutMs` in the parsed form and so isn't found there; it makes no revision either.
    settings: Object.fromEntries(predictor.filter(([field]) => !inRevision.has(field))),
  };
}

function revisionData(service: InferenceService): Fields {
  const { namespace, name } = service.metadata;
  const { apiVersion, kind } = service;
  return { apiVersion, kind, metadata: { namespace, name }, spec: { predictor: partsOf(service).revised } };
}

function settingsOf(service: InferenceService): string {
  const annotations = Object.entries(service.metadata.annotations).filter(([key]) =>
    KEPT_ANNOTATIONS.includes(key),
  );
  return canonicalJson({
    annotations: Object.fromEntries(annotations),
    predictor: partsOf(service).settings,
  });
}

const failureSchema = z.object({ code: z.string(), message: z.string(), atMs: z.number() });

/**
 * Reads a revision back; undefined for an object that isn't one, or was written by a version of Pilotlight whose
 * manifests this one doesn't take.
 */
export function revisionOnRecord(object: ControllerRevision): RevisionOnRecord | undefined {
  const { name, annotations = {}, ownerReferences = [] } = object.metadata ?? {};
  const owner = ownerReferences.find(({ controller }) => controller === true);
  const specHash = annotations[ANNOTATION.specHash];
  if (name === undefined || owner === undefined || specHash === undefined) return undefined;
  const service = readService(object.data, annotations[ANNOTATION.settings]);
  if (service === undefined) return undefined;
  const identity = modelIdentitySchema.safeParse(readJson(annotations[ANNOTATION.identity]));
  const failure = failureSchema.safeParse(readJson(annotations[ANNOTATION.failure]));
  const rolledOutAtMs = readNumber(annotations[ANNOTATION.rolledOutAt]);
  return {
    number: object.revision,
    name,
    specHash,
    uid: owner.uid,
    generation: readNumber(annotations[ANNOTATION.generation]) ?? 0,
    service,
    everReady: annotations[ANNOTATION.everReady] === 'true',
    createdAtMs: readNumber(annotations[ANNOTATION.createdAt]) ?? 0,
    ...(identity.success && { identity: identity.data }),
    ...(rolledOutAtMs !== undefined && { rolledOutAtMs }),
    ...(failure.success && { failure: failure.data }),
  };
}

function readService(data: unknown, settingsText: string | undefined): InferenceService | undefined {
  const manifest = asFields(data);
  const settings = asFields(readJson(settingsText));
  const parsed = parseInferenceService({
    ...manifest,
    metadata: { ...asFields(manifest['metadata']), annotations: asFields(settings['annotations']) },
    spec: {
      predictor: {
        ...asFields(asFields(manifest['spec'])['predictor']),
        ...asFields(settings['predictor']),
      },
    },
  });
  return parsed.ok ? parsed.service : undefined;
}

function asFields(value: unknown): Fields {
  return typeof value === 'object' && value !== null ? (value as Fields) : {};
}

function readJson(text: string | undefined): unknown {
  if (text === undefined) return undefined;
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function readNumber(text: string | undefined): number | undefined {
  return text === undefined || !/^[0-9]+(\.[0-9]+)?$/.test(text) ? undefined : Number(text);
}
