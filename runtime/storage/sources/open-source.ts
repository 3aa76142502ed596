import type { S3Access, StorageAccess } from '../../../contracts/storage-access.ts';
import { AwsCredentials } from '../credentials/aws.ts';
import { AzureTokens } from '../credentials/azure.ts';
import { GoogleCredentials } from '../credentials/google.ts';
import { s3AccessFromEnvironment } from '../s3-environment.ts';
import type { Secrets } from '../secrets.ts';
import type { ModelSource, StorageLimits } from '../storage-types.ts';
import { type ModelUri, redactUri } from '../uri.ts';
import { AzureBlobSource, azureEndpoint } from './azure-blob.ts';
import { GcsSource, gcsEndpoint } from './gcs.ts';
import { HttpSource } from './http.ts';
import { S3Source } from './s3.ts';
import { S3Requests } from './s3-requests.ts';

type Environment = Readonly<Record<string, string | undefined>>;

/** A store, and its name in cache keys: two endpoints may hold buckets of one name. */
export interface OpenSource {
  source: ModelSource;
  origin: string;
}

/** The store that a URI names. What `access` leaves open comes from the environment of this process. */
export function openSource(
  uri: Exclude<ModelUri, { scheme: 'file' }>,
  access: StorageAccess,
  environment: Environment,
  limits: StorageLimits,
  secrets: Secrets,
): OpenSource {
  keepSecret(access, secrets);
  switch (uri.scheme) {
    case 's3': {
      const { requests, endpoint } = openBucket(uri, access, environment, limits, secrets);
      const source = new S3Source(uri, requests, limits);
      return { source, origin: `s3://${uri.bucket}/${uri.key}${atHost(endpoint)}` };
    }
    case 'gs': {
      const endpoint = access.gcs?.endpoint ?? filled(environment['STORAGE_EMULATOR_HOST']);
      const gcs = { ...access.gcs, ...(endpoint !== undefined && { endpoint }) };
      const source = new GcsSource(uri, gcs, new GoogleCredentials(gcs, environment, secrets), limits);
      const at = endpoint === undefined ? undefined : gcsEndpoint(endpoint);
      return { source, origin: `gs://${uri.bucket}/${uri.key}${atHost(at)}` };
    }
    case 'azure': {
      const azure = access.azure ?? {};
      const source = new AzureBlobSource(uri, azure, new AzureTokens(azure, environment, secrets), limits);
      const base = azureEndpoint(uri, azure.endpoint);
      return { source, origin: `${base}/${uri.container}/${uri.path}` };
    }
    case 'http':
      return {
        source: new HttpSource(uri.url, access.http?.headers ?? {}, limits),
        origin: redactUri(uri.url),
      };
  }
}

/** Signed requests to the bucket of a URI, whatever is to be done there. */
export function openBucket(
  { bucket, key }: { bucket: string; key: string },
  access: StorageAccess,
  environment: Environment,
  limits: StorageLimits,
  secrets: Secrets,
): { requests: S3Requests; endpoint: string | undefined } {
  const s3 = s3Access(access.s3 ?? {}, environment);
  secrets.add(s3.secretAccessKey);
  secrets.add(s3.sessionToken);
  const credentials = new AwsCredentials(s3, environment, secrets);
  const requests = new S3Requests(bucket, s3, credentials, limits, `s3://${bucket}/${key}`);
  return { requests, endpoint: s3.endpoint };
}

/** Of a service that brings neither keys nor the word "anonymous", the pod's environment says the rest. */
function s3Access(access: S3Access, environment: Environment): S3Access {
  if (access.accessKeyId !== undefined || access.anonymous === true) return access;
  const {
    accessKeyId: _id,
    secretAccessKey: _key,
    sessionToken: _token,
    ...place
  } = s3AccessFromEnvironment(environment);
  return { ...place, ...access };
}

function atHost(endpoint: string | undefined): string {
  return endpoint === undefined ? '' : `@${URL.parse(endpoint)?.host ?? ''}`;
}

function filled(text: string | undefined): string | undefined {
  return text === undefined || text.trim() === '' ? undefined : text.trim();
}

function keepSecret({ s3, gcs, azure, http }: StorageAccess, secrets: Secrets): void {
  secrets.add(s3?.secretAccessKey);
  secrets.add(s3?.sessionToken);
  secrets.add(gcs?.serviceAccount?.privateKey);
  secrets.add(azure?.accountKey);
  secrets.add(azure?.servicePrincipal?.clientSecret);
  if (azure?.sasToken !== undefined) {
    secrets.add(azure.sasToken);
    secrets.add(new URLSearchParams(azure.sasToken).get('sig') ?? undefined);
  }
  for (const value of Object.values(http?.headers ?? {})) {
    secrets.add(value);
    // A server that quotes it may leave the scheme away.
    secrets.add(/^\S+\s+(\S+)$/.exec(value)?.[1]);
  }
}
