import type { Parsed } from './durations.ts';

/** How to reach an S3 store and as whom. */
export interface S3Settings {
  accessKeyId?: string;
  secretAccessKey?: string;
  sessionToken?: string;
  /** A URL with scheme; AWS itself when absent. */
  endpoint?: string;
  region?: string;
  useHttps: boolean;
  /** False accepts any certificate. */
  verifySsl: boolean;
  /** Bucket in the host name instead of the path; for the runtime to say where the endpoint is. */
  virtualHosted?: boolean;
  /** Requests are not signed. */
  anonymous?: true;
}

/** The same settings as text, under our own names; absent and empty are the same. */
export interface RawS3Settings {
  accessKeyId?: string | undefined;
  secretAccessKey?: string | undefined;
  sessionToken?: string | undefined;
  endpoint?: string | undefined;
  region?: string | undefined;
  useHttps?: string | undefined;
  verifySsl?: string | undefined;
  virtualHosted?: string | undefined;
  anonymous?: string | undefined;
  caBundle?: string | undefined;
}

/**
 * Reads settings as KServe writes them: an endpoint with or without scheme, switches as `1`/`0` or
 * `true`/`false`. Without keys, and not anonymous, requests are signed as whoever the pod is. The bucket goes into
 * the path, except at AWS, which wants it in the host name.
 */
export function readS3Settings(raw: RawS3Settings): Parsed<S3Settings> {
  if (filled(raw.caBundle) !== undefined) {
    return {
      ok: false,
      message: 'not supported yet: a CA bundle for S3 (s3-verifyssl "0" accepts any certificate)',
    };
  }
  const switches = { useHttps: true, verifySsl: true, virtualHosted: undefined, anonymous: false } as {
    useHttps: boolean;
    verifySsl: boolean;
    virtualHosted: boolean | undefined;
    anonymous: boolean;
  };
  for (const name of ['useHttps', 'verifySsl', 'virtualHosted', 'anonymous'] as const) {
    const value = filled(raw[name]);
    if (value === undefined) continue;
    if (!/^(?:1|0|true|false)$/i.test(value)) {
      return {
        ok: false,
        message: `expected "1" or "0" for the S3 setting ${name}, got "${value.slice(0, 40)}"`,
      };
    }
    switches[name] = /^(?:1|true)$/i.test(value);
  }
  const endpoint = endpointUrl(filled(raw.endpoint), switches.useHttps);
  if (!endpoint.ok) return endpoint;
  const accessKeyId = filled(raw.accessKeyId);
  const secretAccessKey = filled(raw.secretAccessKey);
  if (!switches.anonymous && (accessKeyId === undefined) !== (secretAccessKey === undefined)) {
    const missing = accessKeyId === undefined ? 'an access key id' : 'a secret access key';
    return { ok: false, message: `expected both keys of S3 credentials, ${missing} is missing` };
  }
  const { anonymous } = switches;
  const sessionToken = filled(raw.sessionToken);
  const region = filled(raw.region);
  const virtualHosted = switches.virtualHosted ?? isVirtualHosted(endpoint.value);
  return {
    ok: true,
    value: {
      ...(anonymous || accessKeyId === undefined ? {} : { accessKeyId }),
      ...(anonymous || secretAccessKey === undefined ? {} : { secretAccessKey }),
      ...(anonymous || sessionToken === undefined ? {} : { sessionToken }),
      ...(endpoint.value === undefined ? {} : { endpoint: endpoint.value }),
      ...(region === undefined ? {} : { region }),
      useHttps: endpoint.value === undefined ? switches.useHttps : endpoint.value.startsWith('https:'),
      verifySsl: switches.verifySsl,
      ...(virtualHosted !== undefined && { virtualHosted }),
      ...(anonymous && { anonymous }),
    },
  };
}

/** Without an endpoint the runtime's environment may still name one: nothing is known then. */
function isVirtualHosted(endpoint: string | undefined): boolean | undefined {
  if (endpoint === undefined) return undefined;
  return /(?:^|\.)amazonaws\.com$/.test(new URL(endpoint).hostname);
}

function endpointUrl(endpoint: string | undefined, useHttps: boolean): Parsed<string | undefined> {
  if (endpoint === undefined) return { ok: true, value: undefined };
  const withScheme = /^https?:\/\//i.test(endpoint)
    ? endpoint
    : `${useHttps ? 'https' : 'http'}://${endpoint}`;
  if (!URL.canParse(withScheme)) {
    return {
      ok: false,
      message: `expected an S3 endpoint such as "minio.example:9000", got "${endpoint.slice(0, 80)}"`,
    };
  }
  return { ok: true, value: withScheme.replace(/\/+$/, '') };
}

function filled(value: string | undefined): string | undefined {
  const trimmed = value?.trim();
  return trimmed === undefined || trimmed === '' ? undefined : trimmed;
}
