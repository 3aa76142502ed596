import type { ConfigMap, Secret, ServiceAccount } from './config-objects.ts';
import { missingKey, missingObject, type NamespaceObjects, resolveEnv } from './env.ts';
import type { InferenceService } from './inference-service.ts';
import type { ModelSpec } from './model.ts';
import { type PathSegment, type Problem, problemAt } from './problems.ts';
import { type RawS3Settings, readS3Settings, type S3Settings } from './s3-settings.ts';
import { STORAGE_SECRET_ANNOTATION } from './warnings.ts';

/** The objects of a service's own namespace, by name. */
export interface ReferenceObjects extends NamespaceObjects {
  serviceAccounts: ReadonlyMap<string, ServiceAccount>;
}

/** Where a model lies and how to get at it. `gs:` URIs come out as `s3:` at Google's S3-compatible endpoint. */
export interface ResolvedStorage {
  uri: string;
  s3?: S3Settings;
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
      : fromStorage(service, model.storage, objects);
  if ('problem' in storage) problems.push(storage.problem);
  return problems.length > 0 || 'problem' in storage
    ? { ok: false, problems }
    : { ok: true, value: { env, storage: storage.resolved } };
}

type StorageResult = { resolved: ResolvedStorage } | { problem: Problem };

const MODEL_PATH: PathSegment[] = ['spec', 'predictor', 'model'];
const GOOGLE_ENDPOINT = 'https://storage.googleapis.com';

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
  const isGoogle = /^gs:/i.test(uri);
  if (!isGoogle && !/^s3:/i.test(uri)) return { resolved: { uri } };
  const account = accountSettings(service, objects, isGoogle);
  if ('problem' in account) return account;
  const fallback: RawS3Settings = {
    accessKeyId: env['AWS_ACCESS_KEY_ID'],
    secretAccessKey: env['AWS_SECRET_ACCESS_KEY'],
    sessionToken: env['AWS_SESSION_TOKEN'],
    endpoint: isGoogle ? GOOGLE_ENDPOINT : (env['AWS_ENDPOINT_URL_S3'] ?? env['AWS_ENDPOINT_URL']),
    region: env['AWS_REGION'] ?? env['AWS_DEFAULT_REGION'],
  };
  const raw = mergeSettings(fallback, account.raw);
  if (isGoogle)
    Object.assign(raw, { endpoint: GOOGLE_ENDPOINT, virtualHosted: '0', region: raw.region ?? 'auto' });
  const settings = readS3Settings(raw);
  if (!settings.ok)
    return { problem: problemAt(account.path ?? [...MODEL_PATH, 'storageUri'], settings.message) };
  return { resolved: { uri: isGoogle ? `s3${uri.slice(2)}` : uri, s3: settings.value } };
}

interface AccountSettings {
  raw: RawS3Settings;
  path?: PathSegment[];
}

/** What the service account says: its annotations, and over them the first of its Secrets that has AWS keys. */
function accountSettings(
  service: InferenceService,
  objects: ReferenceObjects,
  isGoogle: boolean,
): AccountSettings | { problem: Problem } {
  const named = service.spec.predictor.serviceAccountName;
  const path: PathSegment[] = ['spec', 'predictor', 'serviceAccountName'];
  const { namespace } = service.metadata;
  const account = objects.serviceAccounts.get(named ?? 'default');
  if (account === undefined) {
    // The account "default" is there in every namespace, written down or not.
    return named === undefined || named === 'default'
      ? { raw: {} }
      : { problem: problemAt(path, `ServiceAccount "${named}" is not in namespace "${namespace}"`) };
  }
  const annotated = settingsOfAnnotations(account.metadata.annotations);
  for (const reference of account.secrets) {
    const secret = objects.secrets.get(reference.name);
    if (secret === undefined) {
      const message = `${missingObject(true, reference.name, namespace)}; ServiceAccount "${account.metadata.name}" lists it`;
      return { problem: problemAt(path, message) };
    }
    const { data } = secret;
    if (isGoogle && Object.hasOwn(data, 'gcloud-application-credentials.json')) {
      const message = `not supported yet: Google service account keys (Secret "${reference.name}"); use HMAC keys as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY`;
      return { problem: problemAt(path, message) };
    }
    const fromSecret = mergeSettings(annotated, settingsOfAnnotations(secret.metadata.annotations));
    const isS3 = Object.hasOwn(data, 'AWS_ACCESS_KEY_ID') || Object.hasOwn(data, 'AWS_SECRET_ACCESS_KEY');
    if (!isS3 && fromSecret.anonymous === undefined) continue;
    for (const key of ['AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY']) {
      if (isS3 && !Object.hasOwn(data, key)) return { problem: problemAt(path, missingKey(secret, key)) };
    }
    const keys: RawS3Settings = {
      accessKeyId: data['AWS_ACCESS_KEY_ID'],
      secretAccessKey: data['AWS_SECRET_ACCESS_KEY'],
      sessionToken: data['AWS_SESSION_TOKEN'],
      endpoint: data['AWS_ENDPOINT_URL'] ?? data['S3_ENDPOINT'],
      region: data['AWS_REGION'] ?? data['AWS_DEFAULT_REGION'],
    };
    return { raw: mergeSettings(keys, fromSecret), path };
  }
  return { raw: annotated, path };
}

/** Ours win over KServe's, so that one object can serve both. */
function settingsOfAnnotations(annotations: Readonly<Record<string, string>>): RawS3Settings {
  const read = (name: string): string | undefined =>
    annotations[`serving.pilotlight.dev/s3-${name}`] ?? annotations[`serving.kserve.io/s3-${name}`];
  return {
    endpoint: read('endpoint'),
    region: read('region'),
    useHttps: read('usehttps'),
    verifySsl: read('verifyssl'),
    virtualHosted: read('usevirtualbucket'),
    anonymous: read('useanoncredential'),
    caBundle: read('cabundle'),
  };
}

function mergeSettings(base: RawS3Settings, over: RawS3Settings): RawS3Settings {
  const given = Object.entries(over).filter(([, value]) => value !== undefined);
  return { ...base, ...Object.fromEntries(given) };
}

function storageSecretName(service: InferenceService): string {
  return service.metadata.annotations[STORAGE_SECRET_ANNOTATION] ?? 'storage-config';
}

/** `storage`: an entry of the Secret `storage-config`, a JSON object, with the parameters over it. */
function fromStorage(
  service: InferenceService,
  storage: NonNullable<ModelSpec['storage']>,
  objects: ReferenceObjects,
): StorageResult {
  const path = [...MODEL_PATH, 'storage'];
  const entry = storageEntry(service, storage, objects, path);
  if ('problem' in entry) return entry;
  const settings: Record<string, string> = { ...entry.settings, ...storage.parameters };
  const type = settings['type'] ?? 's3';
  if (type !== 's3') {
    return {
      problem: problemAt([...path, 'parameters'], `not supported yet: storage of type "${type}" (s3 is)`),
    };
  }
  const bucket = settings['bucket'];
  if (bucket === undefined || bucket === '') {
    const message = 'expected a bucket in storage.parameters or in the entry of the storage Secret';
    return { problem: problemAt([...path, 'parameters'], message) };
  }
  const s3 = readS3Settings({
    accessKeyId: settings['access_key_id'],
    secretAccessKey: settings['secret_access_key'],
    sessionToken: settings['session_token'],
    endpoint: settings['endpoint_url'],
    region: settings['region'] ?? settings['default_region'],
    verifySsl: settings['verify_ssl'],
    virtualHosted: settings['use_virtual_bucket'],
    anonymous: settings['anonymous'],
    caBundle: settings['certificate'],
  });
  if (!s3.ok) return { problem: problemAt(path, s3.message) };
  return { resolved: { uri: `s3://${bucket}/${storage.path.replace(/^\/+/, '')}`, s3: s3.value } };
}

function storageEntry(
  service: InferenceService,
  storage: NonNullable<ModelSpec['storage']>,
  objects: ReferenceObjects,
  path: PathSegment[],
): { settings: Record<string, string> } | { problem: Problem } {
  const secretName = storageSecretName(service);
  const secret = objects.secrets.get(secretName);
  const keyPath = [...path, 'key'];
  if (secret === undefined) {
    // Parameters alone can describe a public bucket; only a named entry needs the Secret.
    return storage.key === undefined
      ? { settings: {} }
      : { problem: problemAt(keyPath, missingObject(true, secretName, service.metadata.namespace)) };
  }
  const defaults = [`default_${storage.parameters['type'] ?? 's3'}`, 'default'];
  const key = storage.key ?? defaults.find((candidate) => Object.hasOwn(secret.data, candidate));
  if (key === undefined) return { settings: {} };
  const text = Object.hasOwn(secret.data, key) ? secret.data[key] : undefined;
  if (text === undefined) return { problem: problemAt(keyPath, missingKey(secret, key)) };
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    // The parser's own message would quote the text, which holds credentials.
    parsed = undefined;
  }
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed)) {
    return {
      problem: problemAt(keyPath, `expected a JSON object under key "${key}" of Secret "${secretName}"`),
    };
  }
  const settings: Record<string, string> = {};
  for (const [name, value] of Object.entries(parsed)) {
    if (typeof value === 'string' || typeof value === 'boolean' || typeof value === 'number')
      settings[name] = String(value);
  }
  return { settings };
}
