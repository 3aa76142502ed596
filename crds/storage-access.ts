import type { StorageAccess } from '../contracts/storage-access.ts';
import { AZURE_VARIABLES, readAzureSettings, tellsOfAzure } from './azure-settings.ts';
import type { Secret, ServiceAccount } from './config-objects.ts';
import type { Parsed } from './durations.ts';
import { missingKey } from './env.ts';
import { GOOGLE_KEY_FILE, readGoogleKey } from './gcs-settings.ts';
import { isOfHost, readHttpHeaders } from './http-settings.ts';
import { type RawS3Settings, readS3Settings } from './s3-settings.ts';

/**
 * From a model's URI, and the Secrets and the environment that may tell of its store, to the way there: pure, and
 * no message shows a value of a Secret.
 */

/** Where the access was found: in the environment the paths of problems differ from those of the account. */
export interface FoundAccess {
  uri: string;
  access?: StorageAccess;
  /** A Secret of the service account brought it. */
  isOfAccount: boolean;
}

export interface AccessInput {
  uri: string;
  /** Annotations of the service account, which may say where its store is. */
  account: ServiceAccount | undefined;
  /** Secrets that may hold credentials, in their order. */
  secrets: readonly Secret[];
  /** Of the model, resolved. */
  env: Readonly<Record<string, string>>;
}

/** Variables with credentials and addresses of stores, which travel with a claim, by the scheme that reads them. */
export const TRAVELLING_VARIABLES = {
  s3: [
    'AWS_ACCESS_KEY_ID',
    'AWS_SECRET_ACCESS_KEY',
    'AWS_SESSION_TOKEN',
    'AWS_ENDPOINT_URL',
    'AWS_ENDPOINT_URL_S3',
    'AWS_REGION',
    'AWS_DEFAULT_REGION',
  ],
  gs: ['STORAGE_EMULATOR_HOST', 'AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY'],
  azure: AZURE_VARIABLES,
} as const;

const GOOGLE_S3_ENDPOINT = 'https://storage.googleapis.com';
const AZURE_BLOB =
  /^https:\/\/[a-z0-9]{3,24}\.blob\.core\.(?:windows\.net|chinacloudapi\.cn|usgovcloudapi\.net)\/[^?]*$/i;

/** The kind of store that a URI names; undefined where there is nothing to be allowed to. */
export function storeOf(uri: string): 's3' | 'gs' | 'azure' | 'http' | undefined {
  const scheme = /^([a-z][a-z0-9+.-]*):/i.exec(uri)?.[1]?.toLowerCase();
  if (scheme === 's3' || scheme === 'gs') return scheme;
  if (scheme !== undefined && /^(?:abfs|wasb)s?$/.test(scheme)) return 'azure';
  if (AZURE_BLOB.test(uri.replace(/#.*$/, ''))) return 'azure';
  return scheme === 'http' || scheme === 'https' ? 'http' : undefined;
}

/**
 * Whether an access brings all that the store wants to know, so that the identity of the pod plays no part.
 */
export function carriesCredentials({ s3, gcs, azure, http }: StorageAccess): boolean {
  return (
    s3?.accessKeyId !== undefined ||
    gcs?.serviceAccount !== undefined ||
    (azure?.accountKey ?? azure?.sasToken ?? azure?.servicePrincipal) !== undefined ||
    http !== undefined ||
    s3?.anonymous === true ||
    gcs?.anonymous === true ||
    azure?.anonymous === true
  );
}

/** Finds the access to the store of a `storageUri`. */
export function findAccess(input: AccessInput): Parsed<FoundAccess> {
  switch (storeOf(input.uri)) {
    case 's3':
      return s3Access(input);
    case 'gs':
      return googleAccess(input);
    case 'azure':
      return azureAccess(input);
    case 'http':
      return httpAccess(input);
    case undefined:
      return { ok: true, value: { uri: input.uri, isOfAccount: false } };
  }
}

function s3Access({ uri, account, secrets, env }: AccessInput): Parsed<FoundAccess> {
  const annotated = settingsOfAnnotations(account?.metadata.annotations ?? {});
  const fromSecret = s3OfSecrets(annotated, secrets);
  if (!fromSecret.ok) return fromSecret;
  const raw = fromSecret.value ?? mergeSettings(s3OfEnvironment(env), annotated);
  const settings = readS3Settings(raw);
  if (!settings.ok) return settings;
  return {
    ok: true,
    value: { uri, access: { s3: settings.value }, isOfAccount: fromSecret.value !== undefined },
  };
}

/** The first Secret that has AWS keys, or says that nobody needs any, under what the account's annotations say. */
function s3OfSecrets(
  annotated: RawS3Settings,
  secrets: readonly Secret[],
): Parsed<RawS3Settings | undefined> {
  for (const secret of secrets) {
    const { data } = secret;
    const settings = mergeSettings(annotated, settingsOfAnnotations(secret.metadata.annotations));
    const isS3 = Object.hasOwn(data, 'AWS_ACCESS_KEY_ID') || Object.hasOwn(data, 'AWS_SECRET_ACCESS_KEY');
    if (!isS3 && settings.anonymous === undefined) continue;
    for (const key of ['AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY']) {
      if (isS3 && !Object.hasOwn(data, key)) return { ok: false, message: missingKey(secret, key) };
    }
    const keys: RawS3Settings = {
      accessKeyId: data['AWS_ACCESS_KEY_ID'],
      secretAccessKey: data['AWS_SECRET_ACCESS_KEY'],
      sessionToken: data['AWS_SESSION_TOKEN'],
      endpoint: data['AWS_ENDPOINT_URL'] ?? data['S3_ENDPOINT'],
      region: data['AWS_REGION'] ?? data['AWS_DEFAULT_REGION'],
    };
    return { ok: true, value: mergeSettings(keys, settings) };
  }
  return { ok: true, value: undefined };
}

function s3OfEnvironment(env: AccessInput['env']): RawS3Settings {
  return {
    accessKeyId: env['AWS_ACCESS_KEY_ID'],
    secretAccessKey: env['AWS_SECRET_ACCESS_KEY'],
    sessionToken: env['AWS_SESSION_TOKEN'],
    endpoint: env['AWS_ENDPOINT_URL_S3'] ?? env['AWS_ENDPOINT_URL'],
    region: env['AWS_REGION'] ?? env['AWS_DEFAULT_REGION'],
  };
}

/** By a service account's key, or by HMAC keys at Google's S3-compatible endpoint; else as the pod, or nobody. */
function googleAccess({ uri, account, secrets, env }: AccessInput): Parsed<FoundAccess> {
  const endpoint = env['STORAGE_EMULATOR_HOST'];
  const place = endpoint === undefined || endpoint === '' ? {} : { endpoint };
  const keyFile = secrets.find(({ data }) => Object.hasOwn(data, GOOGLE_KEY_FILE));
  if (keyFile !== undefined) {
    const where = `key "${GOOGLE_KEY_FILE}" of Secret "${keyFile.metadata.name}"`;
    const key = readGoogleKey(keyFile.data[GOOGLE_KEY_FILE] ?? '', where);
    if (!key.ok) return key;
    const access = { gcs: { ...place, serviceAccount: key.value } };
    return { ok: true, value: { uri, access, isOfAccount: true } };
  }
  const annotated = settingsOfAnnotations(account?.metadata.annotations ?? {});
  const hmac = s3OfSecrets(annotated, secrets);
  if (!hmac.ok) return hmac;
  const raw = hmac.value ?? s3OfEnvironment(env);
  if (raw.accessKeyId === undefined || raw.secretAccessKey === undefined) {
    const isAnonymous = /^(?:1|true)$/i.test(raw.anonymous ?? '');
    const access = { gcs: { ...place, ...(isAnonymous && { anonymous: true }) } };
    return { ok: true, value: { uri, access, isOfAccount: isAnonymous && hmac.value !== undefined } };
  }
  const settings = readS3Settings({
    accessKeyId: raw.accessKeyId,
    secretAccessKey: raw.secretAccessKey,
    endpoint: GOOGLE_S3_ENDPOINT,
    region: 'auto',
    virtualHosted: '0',
  });
  if (!settings.ok) return settings;
  const access = { s3: settings.value };
  return { ok: true, value: { uri: `s3${uri.slice(2)}`, access, isOfAccount: hmac.value !== undefined } };
}

function azureAccess({ uri, secrets, env }: AccessInput): Parsed<FoundAccess> {
  const secret = secrets.find(({ data }) => tellsOfAzure(data));
  const settings = readAzureSettings(secret?.data ?? env);
  if (!settings.ok) {
    const where = secret === undefined ? '' : ` (Secret "${secret.metadata.name}")`;
    return { ok: false, message: settings.message + where };
  }
  return { ok: true, value: { uri, access: { azure: settings.value }, isOfAccount: secret !== undefined } };
}

function httpAccess({ uri, secrets }: AccessInput): Parsed<FoundAccess> {
  const url = URL.parse(uri);
  const secret = url === null ? undefined : secrets.find(({ data }) => isOfHost(data['https-host'], url));
  if (secret === undefined) return { ok: true, value: { uri, isOfAccount: false } };
  const where = `key "headers" of Secret "${secret.metadata.name}"`;
  if (!Object.hasOwn(secret.data, 'headers')) return { ok: false, message: missingKey(secret, 'headers') };
  const http = readHttpHeaders(secret.data['headers'] ?? '', where);
  if (!http.ok) return http;
  return { ok: true, value: { uri, access: { http: http.value }, isOfAccount: true } };
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
