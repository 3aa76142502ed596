import type { AzureAccess } from '../../../contracts/storage-access.ts';
import { ModelForbiddenError } from '../errors.ts';
import type { Secrets } from '../secrets.ts';
import { readCredentialFile } from './aws.ts';
import { type Expires, Expiring } from './expiring.ts';
import { identityText, textsOf } from './identity-call.ts';

type Environment = Readonly<Record<string, string | undefined>>;

const PUBLIC_AUTHORITY = 'https://login.microsoftonline.com/';
const SCOPE = 'https://storage.azure.com/.default';

interface Token extends Expires {
  text: string;
}

/**
 * A bearer token of Microsoft Entra ID for Azure storage: of the application whose secret the service brings, or
 * of the pod's workload identity, which the cluster's webhook describes in its environment.
 */
export class AzureTokens {
  private readonly access: AzureAccess;
  private readonly environment: Environment;
  private readonly secrets: Secrets;
  private readonly token: Expiring<Token>;

  constructor(access: AzureAccess, environment: Environment, secrets: Secrets) {
    this.access = access;
    this.environment = environment;
    this.secrets = secrets;
    this.token = new Expiring((signal) => this.fetch(signal));
  }

  /** Undefined where nothing says who asks. */
  async bearer(): Promise<string | undefined> {
    const { anonymous, accountKey, sasToken, servicePrincipal } = this.access;
    if (anonymous === true || accountKey !== undefined || sasToken !== undefined) return undefined;
    if (servicePrincipal === undefined && workloadIdentity(this.environment) === undefined) return undefined;
    return (await this.token.get()).text;
  }

  private async fetch(signal: AbortSignal): Promise<Token> {
    const nowMs = Date.now();
    const { tenantId, clientId, authorityHost, proof } = await this.applicant();
    const label = `Microsoft Entra application ${clientId}`;
    const url = URL.parse(
      `${(authorityHost ?? PUBLIC_AUTHORITY).replace(/\/*$/, '/')}${encodeURIComponent(tenantId)}/oauth2/v2.0/token`,
    );
    if (url === null) throw new ModelForbiddenError(`${label}: its authority is no URL`);
    const body = new URLSearchParams({
      grant_type: 'client_credentials',
      client_id: clientId,
      scope: SCOPE,
      ...proof,
    }).toString();
    const headers = { 'content-type': 'application/x-www-form-urlencoded', accept: 'application/json' };
    const json = await identityText({ url, method: 'POST', headers, body, signal, label });
    const { access_token: text, expires_in: seconds } = textsOf(json, ['access_token', 'expires_in'], label);
    this.secrets.add(text);
    return { text, expiresAtMs: nowMs + (Number(seconds) || 0) * 1_000 };
  }

  private async applicant(): Promise<{
    tenantId: string;
    clientId: string;
    authorityHost: string | undefined;
    proof: Record<string, string>;
  }> {
    const principal = this.access.servicePrincipal;
    if (principal !== undefined) {
      const { tenantId, clientId, authorityHost, clientSecret } = principal;
      return { tenantId, clientId, authorityHost, proof: { client_secret: clientSecret } };
    }
    const workload = workloadIdentity(this.environment);
    if (workload === undefined) throw new ModelForbiddenError('the pod has no Azure workload identity');
    const token = (await readCredentialFile(workload.tokenFile, 'AZURE_FEDERATED_TOKEN_FILE')).trim();
    this.secrets.add(token);
    return {
      ...workload,
      proof: {
        client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
        client_assertion: token,
      },
    };
  }
}

function workloadIdentity(environment: Environment) {
  const tenantId = environment['AZURE_TENANT_ID'] ?? '';
  const clientId = environment['AZURE_CLIENT_ID'] ?? '';
  const tokenFile = environment['AZURE_FEDERATED_TOKEN_FILE'] ?? '';
  if (tenantId === '' || clientId === '' || tokenFile === '') return undefined;
  return { tenantId, clientId, tokenFile, authorityHost: environment['AZURE_AUTHORITY_HOST'] };
}
