import type { AzureAccess } from '../contracts/storage-access.ts';
import type { Parsed } from './durations.ts';

type Texts = Readonly<Record<string, string | undefined>>;

/** Keys of a Secret, or variables of an environment, by which it is known to be about Azure storage. */
const TELLING = [
  'AZ_CLIENT_ID',
  'AZURE_CLIENT_ID',
  'AZURE_STORAGE_ACCESS_KEY',
  'AZURE_STORAGE_SAS_TOKEN',
  'AZURE_SERVICE_URL',
] as const;

/** Variables that `readAzureSettings` reads. */
export const AZURE_VARIABLES = [
  ...TELLING,
  ...['CLIENT_SECRET', 'TENANT_ID', 'SUBSCRIPTION_ID'].flatMap((name) => [`AZ_${name}`, `AZURE_${name}`]),
  'AZURE_AUTHORITY_HOST',
  'AZURE_STORAGE_ANONYMOUS',
];

/** Whether texts say anything of Azure storage. */
export function tellsOfAzure(texts: Texts): boolean {
  return (
    TELLING.some((name) => filled(texts[name]) !== undefined) || isTrue(texts['AZURE_STORAGE_ANONYMOUS'])
  );
}

/**
 * Azure access under the names that KServe and Azure's own tools use: a service principal
 * (`AZ_` or `AZURE_` `CLIENT_ID`, `CLIENT_SECRET`, `TENANT_ID`), the account's key (AZURE_STORAGE_ACCESS_KEY) or a
 * shared access signature (AZURE_STORAGE_SAS_TOKEN), of which the narrowest counts. A client id without a secret
 * leaves the rest to the pod's workload identity. Messages name what is missing and show no value.
 */
export function readAzureSettings(texts: Texts): Parsed<AzureAccess> {
  const endpoint = filled(texts['AZURE_SERVICE_URL']);
  if (endpoint !== undefined && !/^https?:$/.test(URL.parse(endpoint)?.protocol ?? '')) {
    return {
      ok: false,
      message: 'expected a URL such as https://account.blob.core.windows.net as AZURE_SERVICE_URL',
    };
  }
  const place = endpoint === undefined ? {} : { endpoint };
  if (isTrue(texts['AZURE_STORAGE_ANONYMOUS'])) return { ok: true, value: { ...place, anonymous: true } };
  const sasToken = filled(texts['AZURE_STORAGE_SAS_TOKEN'])?.replace(/^\?/, '');
  if (sasToken !== undefined) {
    return new URLSearchParams(sasToken).has('sig')
      ? { ok: true, value: { ...place, sasToken } }
      : { ok: false, message: 'expected a shared access signature with "sig=…" as AZURE_STORAGE_SAS_TOKEN' };
  }
  const principal = principalOf(texts);
  if (!principal.ok) return principal;
  if (principal.value !== undefined)
    return { ok: true, value: { ...place, servicePrincipal: principal.value } };
  const accountKey = filled(texts['AZURE_STORAGE_ACCESS_KEY']);
  return { ok: true, value: accountKey === undefined ? place : { ...place, accountKey } };
}

function principalOf(texts: Texts): Parsed<AzureAccess['servicePrincipal']> {
  const read = (name: string): string | undefined =>
    filled(texts[`AZ_${name}`]) ?? filled(texts[`AZURE_${name}`]);
  const clientId = read('CLIENT_ID');
  const clientSecret = read('CLIENT_SECRET');
  const tenantId = read('TENANT_ID');
  if (clientSecret === undefined) return { ok: true, value: undefined };
  if (clientId === undefined || tenantId === undefined) {
    const missing = clientId === undefined ? 'AZURE_CLIENT_ID' : 'AZURE_TENANT_ID';
    return {
      ok: false,
      message: `expected ${missing} beside the client secret of an Azure service principal`,
    };
  }
  const authorityHost = filled(texts['AZURE_AUTHORITY_HOST']);
  const where = authorityHost === undefined ? {} : { authorityHost };
  return { ok: true, value: { clientId, clientSecret, tenantId, ...where } };
}

function filled(text: string | undefined): string | undefined {
  const trimmed = text?.trim();
  return trimmed === undefined || trimmed === '' ? undefined : trimmed;
}

function isTrue(text: string | undefined): boolean {
  return text?.trim().toLowerCase() === 'true' || text?.trim() === '1';
}
