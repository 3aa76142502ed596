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
import { STORAGE_SECRET_ANNOTATION } from '../../../../crds/warnings.ts';
import type { StoredRevision } from '../../../ports.ts';
import type { ControllerRevision } from './kube-types.ts';
import { LABELS, MANAGED_BY, ownedByService } from './labels.ts';

/**
 * A revision as a ControllerRevision of its service. Its `data` can't be changed once it is written (the API server
 * sees to that), so it holds what a revision is: the service as it was applied. What becomes known later, and the
 * settings that change without a new revision, stand in annotations. Nothing that was resolved from Secrets is
 * written: environment and credentials are read anew from where they belong.
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
const KEPT_ANNOTATIONS = [STORAGE_SECRET_ANNOTATION];

/** A revision as it is stored: all but what is resolved from other objects. */
export interface RevisionOnRecord extends Omit<StoredRevision, 'resolved'> {
  readonly uid: string;
  readonly generation: number;
  readonly service: InferenceService;
}

export function revisionObject(revision: StoredRevision): ControllerRevision {
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
    data: storedManifest(resolved.service),
  };
}

type Manifest = ReturnType<typeof toManifest>;

/** The service as a manifest with every default spelled out, without what other people keep in its metadata. */
function storedManifest(service: InferenceService): Manifest {
  const { namespace, name, annotations } = service.metadata;
  const kept = Object.fromEntries(
    Object.entries(annotations).filter(([key]) => KEPT_ANNOTATIONS.includes(key)),
  );
  return { ...toManifest(service), metadata: { namespace, name, annotations: kept } };
}

/** The predictor's fields that make no revision, as JSON. */
function settingsOf(service: InferenceService): string {
  const inRevision = new Set(Object.keys(revisionSpec(service)));
  const { predictor } = storedManifest(service).spec;
  // `timeout` is `timeoutMs` in the parsed form, and so isn't found there; it makes no revision either.
  const settings = Object.entries(predictor).filter(([field]) => !inRevision.has(field));
  return canonicalJson(Object.fromEntries(settings));
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
  const settings = readJson(settingsText);
  const manifest = data as Partial<Manifest> | undefined;
  const predictor = manifest?.spec?.predictor;
  if (manifest === undefined || predictor === undefined) return undefined;
  const revised =
    typeof settings === 'object' && settings !== null
      ? { ...withoutSettings(predictor, manifest), ...settings }
      : predictor;
  const parsed = parseInferenceService({ ...manifest, spec: { ...manifest.spec, predictor: revised } });
  return parsed.ok ? parsed.service : undefined;
}

/** A setting that is not there any more must not come back from the time when the revision was made. */
function withoutSettings(predictor: Record<string, unknown>, manifest: unknown): Record<string, unknown> {
  const parsed = parseInferenceService(manifest);
  if (!parsed.ok) return predictor;
  const inRevision = new Set(Object.keys(revisionSpec(parsed.service)));
  return Object.fromEntries(Object.entries(predictor).filter(([field]) => inRevision.has(field)));
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
