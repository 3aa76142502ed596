import { createSign } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import type { GcsAccess } from '../../../contracts/storage-access.ts';
import { ModelForbiddenError } from '../errors.ts';
import type { Secrets } from '../secrets.ts';
import { type Expires, Expiring } from './expiring.ts';
import { identityText, metadataText, textsOf } from './identity-call.ts';

type Environment = Readonly<Record<string, string | undefined>>;
type ServiceAccount = NonNullable<GcsAccess['serviceAccount']>;

const SCOPE = 'https://www.googleapis.com/auth/devstorage.read_only';
/** Longest life of a request for a token. */
const ASSERTION_SECONDS = 3_600;

interface Token extends Expires {
  /** Undefined: the machine has no identity, requests go out unsigned. */
  text: string | undefined;
}

/**
 * Who asks Google Cloud Storage: the service account whose key the service brings; else the one whose key file the
 * pod has (GOOGLE_APPLICATION_CREDENTIALS); else nobody, until the store refuses that, and then whom the metadata
 * server of GKE and Compute Engine says the pod is. So a public bucket is read without asking for an identity.
 */
export class GoogleCredentials {
  private readonly access: GcsAccess;
  private readonly environment: Environment;
  private readonly secrets: Secrets;
  private readonly token: Expiring<Token>;
  private usesMetadata = false;

  constructor(access: GcsAccess, environment: Environment, secrets: Secrets) {
    this.access = access;
    this.environment = environment;
    this.secrets = secrets;
    this.token = new Expiring((signal) => this.fetchToken(signal));
  }

  /** Headers for the next request. */
  async headers(): Promise<Record<string, string>> {
    if (this.access.anonymous === true) return {};
    const file = this.environment['GOOGLE_APPLICATION_CREDENTIALS'];
    const hasKey = this.access.serviceAccount !== undefined || (file !== undefined && file !== '');
    if (!hasKey && !this.usesMetadata) return {};
    const { text } = await this.token.get();
    return text === undefined ? {} : { authorization: `Bearer ${text}` };
  }

  /** A request was refused. Whether another one, as the pod, may fare better. */
  async afterRefusal(): Promise<boolean> {
    if (this.access.anonymous === true || this.access.serviceAccount !== undefined || this.usesMetadata)
      return false;
    // The machine's token is for Google to see, not for whoever stands at another endpoint.
    if (this.access.endpoint !== undefined) return false;
    if ((this.environment['GOOGLE_APPLICATION_CREDENTIALS'] ?? '') !== '') return false;
    this.usesMetadata = true;
    return (await this.token.get()).text !== undefined;
  }

  private async fetchToken(signal: AbortSignal): Promise<Token> {
    const account = this.access.serviceAccount ?? (await this.accountOfFile());
    const token = await (account === undefined
      ? tokenOfMachine(this.environment, signal)
      : tokenOfKey(account, signal));
    this.secrets.add(token.text);
    return token;
  }

  private async accountOfFile(): Promise<ServiceAccount | undefined> {
    const file = this.environment['GOOGLE_APPLICATION_CREDENTIALS'] ?? '';
    if (file === '') return undefined;
    const label = `GOOGLE_APPLICATION_CREDENTIALS (${file})`;
    const json = await readFile(file, 'utf8').catch((cause: unknown) => {
      throw new ModelForbiddenError(`${label} cannot be read`, { cause });
    });
    const account = serviceAccountOf(json, label);
    this.secrets.add(account.privateKey);
    return account;
  }
}

/**
 * The key file of a service account.
 * @throws ModelForbiddenError for anything else; nothing of its text is in the message
 */
function serviceAccountOf(json: string, label: string): ServiceAccount {
  const { type } = textsOf(json, ['type'], label);
  if (type !== 'service_account') {
    throw new ModelForbiddenError(
      `${label}: expected a service account's key; a credential file of another type is not supported yet`,
    );
  }
  const texts = textsOf(json, ['client_email', 'private_key', 'token_uri'], label);
  return {
    clientEmail: texts.client_email,
    privateKey: texts.private_key,
    tokenUri: texts.token_uri,
  };
}

/** An access token for a signed request (RFC 7523, as Google's OAuth 2.0 for service accounts has it). */
async function tokenOfKey(account: ServiceAccount, signal: AbortSignal): Promise<Token> {
  const nowMs = Date.now();
  const label = `Google service account ${account.clientEmail}`;
  const assertion = signedAssertion(account, Math.floor(nowMs / 1_000), label);
  const url = URL.parse(account.tokenUri);
  if (url === null || (url.protocol !== 'https:' && url.protocol !== 'http:')) {
    throw new ModelForbiddenError(`${label}: its token_uri is no URL`);
  }
  const body = new URLSearchParams({
    grant_type: 'urn:ietf:params:oauth:grant-type:jwt-bearer',
    assertion,
  }).toString();
  const headers = { 'content-type': 'application/x-www-form-urlencoded', accept: 'application/json' };
  const text = await identityText({ url, method: 'POST', headers, body, signal, label });
  return tokenOf(text, nowMs, label);
}

/** A JSON Web Token, RS256 (RFC 7519). */
function signedAssertion(account: ServiceAccount, nowSeconds: number, label: string): string {
  const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url');
  const head = part({
    alg: 'RS256',
    typ: 'JWT',
    ...(account.privateKeyId === undefined ? {} : { kid: account.privateKeyId }),
  });
  const claims = part({
    iss: account.clientEmail,
    scope: SCOPE,
    aud: account.tokenUri,
    iat: nowSeconds,
    exp: nowSeconds + ASSERTION_SECONDS,
  });
  try {
    const signature = createSign('RSA-SHA256').update(`${head}.${claims}`).sign(account.privateKey);
    return `${head}.${claims}.${signature.toString('base64url')}`;
  } catch {
    // What OpenSSL says of a bad key is of no help, and the key itself must not be shown.
    throw new ModelForbiddenError(`${label}: its private key is no RSA key in PEM`);
  }
}

/** Of GKE's workload identity, or of the machine itself. */
async function tokenOfMachine(environment: Environment, signal: AbortSignal): Promise<Token> {
  const nowMs = Date.now();
  const host = environment['GCE_METADATA_HOST'] ?? 'metadata.google.internal';
  const path = '/computeMetadata/v1/instance/service-accounts/default/token';
  const url = URL.parse(`http://${host}${path}`);
  if (url === null) throw new ModelForbiddenError('GCE_METADATA_HOST is no host name');
  url.searchParams.set('scopes', SCOPE);
  const label = 'the metadata server';
  const text = await metadataText({ url, headers: { 'metadata-flavor': 'Google' }, signal, label });
  return text === undefined ? { text: undefined, expiresAtMs: Infinity } : tokenOf(text, nowMs, label);
}

function tokenOf(json: string, nowMs: number, label: string): Token {
  const { access_token: text, expires_in: seconds } = textsOf(json, ['access_token', 'expires_in'], label);
  return { text, expiresAtMs: nowMs + (Number(seconds) || 0) * 1_000 };
}
