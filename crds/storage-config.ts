import type { StorageAccess } from '../contracts/storage-access.ts';
import { readAzureSettings } from './azure-settings.ts';
import type { Secret } from './config-objects.ts';
import type { Parsed } from './durations.ts';
import { missingKey, missingObject } from './env.ts';
import { readGoogleKey } from './gcs-settings.ts';
import type { InferenceService } from './inference-service.ts';
import type { ModelSpec } from './model.ts';
import { type PathSegment, type Problem, problemAt } from './problems.ts';
import { readS3Settings } from './s3-settings.ts';
import { storageSecretName } from './storage-secret.ts';

type Storage = NonNullable<ModelSpec['storage']>;
type Settings = Readonly<Record<string, string>>;
type Result = { ok: true; uri: string; access: StorageAccess } | { ok: false; problem: Problem };

/**
 * `storage`: an entry of the Secret `storage-config`, a JSON object, with the parameters over it, for the types
 * s3, gs and azure.
 *
 * @param path Of `storage` in the service, for problems.
 */
export function fromStorage(
  service: InferenceService,
  storage: Storage,
  secrets: ReadonlyMap<string, Secret>,
  path: readonly PathSegment[],
): Result {
  const entry = storageEntry(service, storage, secrets, path);
  if ('problem' in entry) return { ok: false, problem: entry.problem };
  const settings: Settings = { ...entry.settings, ...storage.parameters };
  const type = settings['type'] ?? 's3';
  const read = READERS[type];
  if (read === undefined) {
    const message = `not supported yet: storage of type "${type}" (${Object.keys(READERS).join(', ')} are)`;
    return { ok: false, problem: problemAt([...path, 'parameters'], message) };
  }
  const place = PLACES[type] ?? [];
  const missing = place.find((name) => (settings[name] ?? '') === '');
  if (missing !== undefined) {
    const message = `expected a ${missing} in storage.parameters or in the entry of the storage Secret`;
    return { ok: false, problem: problemAt([...path, 'parameters'], message) };
  }
  const access = read(settings, secrets, storageSecretName(service));
  if (!access.ok) return { ok: false, problem: problemAt(path, access.message) };
  const file = storage.path.replace(/^\/+/, '');
  return { ok: true, uri: uriOf(type, settings, file), access: access.value };
}

/** Settings that say where the bucket is, by type. */
const PLACES: Readonly<Record<string, readonly string[]>> = {
  s3: ['bucket'],
  gs: ['bucket'],
  azure: ['account_name', 'container'],
};

function uriOf(type: string, settings: Settings, file: string): string {
  if (type !== 'azure') return `${type}://${settings['bucket']}/${file}`;
  return `abfss://${settings['container']}@${settings['account_name']}.dfs.core.windows.net/${file}`;
}

type Reader = (
  settings: Settings,
  secrets: ReadonlyMap<string, Secret>,
  name: string,
) => Parsed<StorageAccess>;

const READERS: Readonly<Record<string, Reader>> = {
  s3: (settings) => {
    const s3 = readS3Settings({
      accessKeyId: settings['access_key_id'],
      secretAccessKey: settings['secret_access_key'],
      sessionToken: settings['session_token'],
      endpoint: settings['endpoint_url'],
      region: settings['region'] ?? settings['default_region'],
      verifySsl: settings['verify_ssl'],
      virtualHosted: settings['use_virtual_bucket'],
      anonymous: settings['anonymous'],
      caBundle: settings['certificate'] ?? settings['ca_bundle'],
    });
    return s3.ok ? { ok: true, value: { s3: s3.value } } : s3;
  },
  gs: (settings, _secrets, name) => {
    const endpoint = settings['endpoint_url'];
    const place = endpoint === undefined ? {} : { endpoint };
    const encoded = settings['base64_service_account'];
    const json = encoded === undefined ? settings['service_account'] : decoded(encoded);
    if (json === undefined) {
      const anonymous = /^(?:1|true)$/i.test(settings['anonymous'] ?? '');
      return { ok: true, value: { gcs: { ...place, ...(anonymous && { anonymous: true }) } } };
    }
    const key = readGoogleKey(json, `its entry of Secret "${name}"`);
    return key.ok ? { ok: true, value: { gcs: { ...place, serviceAccount: key.value } } } : key;
  },
  azure: (settings) => {
    const azure = readAzureSettings({
      AZURE_SERVICE_URL: settings['endpoint_url'],
      AZURE_STORAGE_ACCESS_KEY: settings['access_key'],
      AZURE_STORAGE_SAS_TOKEN: settings['sas_token'],
      AZURE_CLIENT_ID: settings['client_id'],
      AZURE_CLIENT_SECRET: settings['client_secret'],
      AZURE_TENANT_ID: settings['tenant_id'],
      AZURE_STORAGE_ANONYMOUS: settings['anonymous'],
    });
    return azure.ok ? { ok: true, value: { azure: azure.value } } : azure;
  },
};

function decoded(base64: string): string {
  return Buffer.from(base64, 'base64').toString('utf8');
}

function storageEntry(
  service: InferenceService,
  storage: Storage,
  secrets: ReadonlyMap<string, Secret>,
  path: readonly PathSegment[],
): { settings: Settings } | { problem: Problem } {
  const secretName = storageSecretName(service);
  const secret = secrets.get(secretName);
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
