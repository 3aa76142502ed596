import type { StorageAccess } from '../contracts/storage-access.ts';
import { claimFileUri, claimOf } from './claims.ts';
import type { ConfigMap, Secret, ServiceAccount } from './config-objects.ts';
import { missingObject, type NamespaceObjects, resolveEnv } from './env.ts';
import type { InferenceService } from './inference-service.ts';
import type { ModelSpec } from './model.ts';
import { type PathSegment, type Problem, problemAt } from './problems.ts';
import { carriesCredentials, findAccess, storeOf } from './storage-access.ts';
import { fromStorage } from './storage-config.ts';
import { annotatedStorageSecret } from './storage-secret.ts';

/** The objects of a service's own namespace, by name. */
export interface ReferenceObjects extends NamespaceObjects {
  serviceAccounts: ReadonlyMap<string, ServiceAccount>;
}

/**
 * Where a model lies and how to get at it, as its runtime is told: a `gs:` URI with HMAC keys comes out as `s3:` at
 * Google's S3-compatible endpoint, a `pvc:` URI as the file that is mounted.
 */
export interface ResolvedStorage {
  uri: string;
  access?: StorageAccess;
  /** The store needs to know nothing of the pod: credentials come with the access, or it wants none. */
  carriesCredentials?: true;
}

export interface ResolvedReferences {
  env: Record<string, string>;
  /** Absent for a service of the user's own container. */
  storage?: ResolvedStorage;
}

export type ReferenceResult = { ok: true; value: ResolvedReferences } | { ok: false; problems: Problem[] };

/** Makes the maps of `ReferenceObjects` from any number of objects, of one namespace only. */
export function referenceObjects(
  namespace: string,
  objects: Iterable<ConfigMap | Secret | ServiceAccount>,
): ReferenceObjects {
  const configMaps = new Map<string, ConfigMap>();
  const secrets = new Map<string, Secret>();
  const serviceAccounts = new Map<string, ServiceAccount>();
  for (const object of objects) {
    if (object.metadata.namespace !== namespace) continue;
    if (object.kind === 'ConfigMap') configMaps.set(object.metadata.name, object);
    else if (object.kind === 'Secret') secrets.set(object.metadata.name, object);
    else serviceAccounts.set(object.metadata.name, object);
  }
  return { configMaps, secrets, serviceAccounts };
}

/**
 * Resolves everything that a service refers to: its environment, and the address and credentials of its
 * model's store. Pure: the same service and objects always give the same answer.
 */
export function resolveReferences(service: InferenceService, objects: ReferenceObjects): ReferenceResult {
  const { declared, path } = processOf(service);
  const { env, problems } = resolveEnv(declared, service.metadata.namespace, objects, path);
  const { model } = service.spec.predictor;
  if (model === undefined)
    return problems.length > 0 ? { ok: false, problems } : { ok: true, value: { env } };
  const storage =
    model.storage === undefined
      ? fromUri(service, model, env, objects)
      : storageOfKey(service, model.storage, objects);
  if ('problem' in storage) problems.push(storage.problem);
  return problems.length > 0 || 'problem' in storage
    ? { ok: false, problems }
    : { ok: true, value: { env, storage: storage.resolved } };
}

type StorageResult = { resolved: ResolvedStorage } | { problem: Problem };

const MODEL_PATH: PathSegment[] = ['spec', 'predictor', 'model'];
const ACCOUNT_PATH: PathSegment[] = ['spec', 'predictor', 'serviceAccountName'];

function storageOfKey(
  service: InferenceService,
  storage: NonNullable<ModelSpec['storage']>,
  { secrets }: ReferenceObjects,
): StorageResult {
  const found = fromStorage(service, storage, secrets, [...MODEL_PATH, 'storage']);
  return found.ok ? { resolved: resolvedStorage(found.uri, found.access) } : { problem: found.problem };
}

function processOf(service: InferenceService): {
  declared: Pick<ModelSpec, 'env' | 'envFrom'>;
  path: PathSegment[];
} {
  const { model, containers } = service.spec.predictor;
  return model === undefined
    ? { declared: containers[0], path: ['spec', 'predictor', 'containers', 0] }
    : { declared: model, path: MODEL_PATH };
}

/** `storageUri`: credentials from the service account's Secrets, else from the model's environment, else none. */
function fromUri(
  service: InferenceService,
  model: ModelSpec,
  env: Record<string, string>,
  objects: ReferenceObjects,
): StorageResult {
  const uri = model.storageUri ?? '';
  const claim = claimOf(uri);
  // What is mounted needs nobody's leave but the pod's.
  if (claim !== undefined) return { resolved: { uri: claimFileUri(claim) } };
  const store = storeOf(uri);
  if (store === undefined) return { resolved: { uri } };
  const found = accountSecrets(service, objects, store !== 'http');
  if ('problem' in found) return found;
  const { account, secrets } = found;
  const access = findAccess({ uri, account, secrets, env });
  if (!access.ok) {
    const path = account === undefined && secrets.length === 0 ? [...MODEL_PATH, 'storageUri'] : ACCOUNT_PATH;
    return { problem: problemAt(path, access.message) };
  }
  return { resolved: resolvedStorage(access.value.uri, access.value.access) };
}

function resolvedStorage(uri: string, access: StorageAccess | undefined): ResolvedStorage {
  if (access === undefined) return { uri };
  return { uri, access, ...(carriesCredentials(access) && { carriesCredentials: true }) };
}

/**
 * The service account and its Secrets; of these only the one that an annotation of the service names, where there
 * is such.
 *
 * @param isStrict A Secret that is listed and missing is a problem.
 */
function accountSecrets(
  service: InferenceService,
  objects: ReferenceObjects,
  isStrict: boolean,
): { account: ServiceAccount | undefined; secrets: Secret[] } | { problem: Problem } {
  const named = service.spec.predictor.serviceAccountName;
  const { namespace } = service.metadata;
  const account = objects.serviceAccounts.get(named ?? 'default');
  // The account "default" is there in every namespace, written down or not.
  if (account === undefined && named !== undefined && named !== 'default') {
    return {
      problem: problemAt(ACCOUNT_PATH, `ServiceAccount "${named}" is not in namespace "${namespace}"`),
    };
  }
  const annotated = annotatedStorageSecret(service);
  if (annotated !== undefined) {
    const secret = objects.secrets.get(annotated);
    if (secret !== undefined) return { account, secrets: [secret] };
    const message = `${missingObject(true, annotated, namespace)}; an annotation of the service names it`;
    return { problem: problemAt(['metadata', 'annotations'], message) };
  }
  const secrets: Secret[] = [];
  for (const { name } of account?.secrets ?? []) {
    const secret = objects.secrets.get(name);
    if (secret !== undefined) secrets.push(secret);
    else if (isStrict) {
      const message = `${missingObject(true, name, namespace)}; ServiceAccount "${account?.metadata.name}" lists it`;
      return { problem: problemAt(ACCOUNT_PATH, message) };
    }
  }
  return { account, secrets };
}
