import { readFile } from 'node:fs/promises';
import type { S3Access } from '../../../contracts/storage-access.ts';
import { ModelForbiddenError } from '../errors.ts';
import type { Secrets } from '../secrets.ts';
import { type Expires, Expiring } from './expiring.ts';
import { identityText, metadataText, textsOf } from './identity-call.ts';

type Environment = Readonly<Record<string, string | undefined>>;

export interface AwsKeys {
  accessKeyId: string;
  secretAccessKey: string;
  sessionToken?: string | undefined;
}

type Held = Expires & { keys: AwsKeys | undefined };

const NOBODY: Held = { keys: undefined, expiresAtMs: Infinity };
/** Where Amazon's agents listen on a node: ECS, EKS Pod Identity over IPv4 and IPv6. */
const AGENT_HOSTS = new Set([
  '169.254.170.2',
  '169.254.170.23',
  '[fd00:ec2::23]',
  'localhost',
  '127.0.0.1',
  '[::1]',
]);

/**
 * Who asks an S3 store: whose keys the service brings; else, in the order of AWS's own tools, the keys in the
 * pod's environment, its web identity (EKS service accounts), its container's agent (EKS Pod Identity, ECS); else
 * nobody, until AWS refuses that, and then the role of the machine (IMDSv2). So a public bucket is read without
 * asking for an identity.
 */
export class AwsCredentials {
  private readonly access: S3Access;
  private readonly environment: Environment;
  private readonly secrets: Secrets;
  private readonly held: Expiring<Held>;
  private usesMachine = false;

  constructor(access: S3Access, environment: Environment, secrets: Secrets) {
    this.access = access;
    this.environment = environment;
    this.secrets = secrets;
    this.held = new Expiring((signal) => this.fetch(signal));
  }

  /** Keys to sign the next request with; undefined: it goes out unsigned. */
  async keys(): Promise<AwsKeys | undefined> {
    const { accessKeyId, secretAccessKey, sessionToken, anonymous } = this.access;
    if (anonymous === true) return undefined;
    if (accessKeyId !== undefined && secretAccessKey !== undefined)
      return { accessKeyId, secretAccessKey, sessionToken };
    return (await this.held.get()).keys;
  }

  /** An unsigned request was refused. Whether another one, as the machine, may fare better. */
  async afterRefusal(): Promise<boolean> {
    // The machine's role means something at AWS alone, and is for no other server to see.
    if (this.access.anonymous === true || this.access.endpoint !== undefined || this.usesMachine)
      return false;
    if (this.value('AWS_EC2_METADATA_DISABLED')?.toLowerCase() === 'true') return false;
    if ((await this.keys()) !== undefined) return false;
    this.usesMachine = true;
    return (await this.held.get()).keys !== undefined;
  }

  private async fetch(signal: AbortSignal): Promise<Held> {
    const held = (await this.ofEnvironment(signal)) ?? NOBODY;
    this.secrets.add(held.keys?.secretAccessKey);
    this.secrets.add(held.keys?.sessionToken);
    // Nobody now; to be asked again once the machine may be asked.
    return held.keys === undefined && !this.usesMachine ? { ...NOBODY, expiresAtMs: 0 } : held;
  }

  private async ofEnvironment(signal: AbortSignal): Promise<Held | undefined> {
    const accessKeyId = this.value('AWS_ACCESS_KEY_ID');
    const secretAccessKey = this.value('AWS_SECRET_ACCESS_KEY');
    if (accessKeyId !== undefined && secretAccessKey !== undefined) {
      const sessionToken = this.value('AWS_SESSION_TOKEN');
      return { keys: { accessKeyId, secretAccessKey, sessionToken }, expiresAtMs: Infinity };
    }
    const roleArn = this.value('AWS_ROLE_ARN');
    const tokenFile = this.value('AWS_WEB_IDENTITY_TOKEN_FILE');
    if (roleArn !== undefined && tokenFile !== undefined)
      return this.ofWebIdentity(roleArn, tokenFile, signal);
    const agent = this.agentUrl();
    if (agent !== undefined) return this.ofAgent(agent, signal);
    return this.usesMachine ? this.ofMachine(signal) : undefined;
  }

  /** STS gives keys of a role to whom it knows by a token of the cluster. */
  private async ofWebIdentity(roleArn: string, tokenFile: string, signal: AbortSignal): Promise<Held> {
    const label = `AWS role ${roleArn}`;
    const token = (await readCredentialFile(tokenFile, 'AWS_WEB_IDENTITY_TOKEN_FILE')).trim();
    this.secrets.add(token);
    const region = this.access.region ?? this.value('AWS_REGION') ?? this.value('AWS_DEFAULT_REGION');
    const endpoint = this.value('AWS_ENDPOINT_URL_STS') ?? this.value('AWS_ENDPOINT_URL');
    const url = URL.parse(
      endpoint ?? `https://sts.${region === undefined ? '' : `${region}.`}amazonaws.com/`,
    );
    if (url === null) throw new ModelForbiddenError(`${label}: AWS_ENDPOINT_URL_STS is no URL`);
    const body = new URLSearchParams({
      Action: 'AssumeRoleWithWebIdentity',
      Version: '2011-06-15',
      RoleArn: roleArn,
      RoleSessionName: this.value('AWS_ROLE_SESSION_NAME') ?? `pilotlight-${process.pid}`,
      WebIdentityToken: token,
    }).toString();
    const headers = { 'content-type': 'application/x-www-form-urlencoded' };
    const xml = await identityText({ url, method: 'POST', headers, body, signal, label });
    const tag = (name: string): string | undefined => new RegExp(`<${name}>([^<]*)</${name}>`).exec(xml)?.[1];
    const accessKeyId = tag('AccessKeyId');
    const secretAccessKey = tag('SecretAccessKey');
    if (accessKeyId === undefined || secretAccessKey === undefined) {
      throw new ModelForbiddenError(
        `${label}: ${url.host} did not answer with credentials; is it an STS endpoint?`,
      );
    }
    return {
      keys: { accessKeyId, secretAccessKey, sessionToken: tag('SessionToken') },
      expiresAtMs: expiry(tag('Expiration')),
    };
  }

  /** The address of the node's agent, from the variables that it sets. */
  private agentUrl(): URL | undefined {
    const relative = this.value('AWS_CONTAINER_CREDENTIALS_RELATIVE_URI');
    if (relative !== undefined) return new URL(relative, 'http://169.254.170.2');
    const full = this.value('AWS_CONTAINER_CREDENTIALS_FULL_URI');
    if (full === undefined) return undefined;
    const url = URL.parse(full);
    if (url === null || (url.protocol !== 'https:' && !AGENT_HOSTS.has(url.hostname))) {
      throw new ModelForbiddenError(
        'AWS_CONTAINER_CREDENTIALS_FULL_URI: expected https, or an address of this node',
      );
    }
    return url;
  }

  private async ofAgent(url: URL, signal: AbortSignal): Promise<Held> {
    const file = this.value('AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE');
    const authorization =
      file === undefined
        ? this.value('AWS_CONTAINER_AUTHORIZATION_TOKEN')
        : (await readCredentialFile(file, 'AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE')).trim();
    this.secrets.add(authorization);
    const label = 'AWS container credentials';
    const headers = authorization === undefined ? {} : { authorization };
    return heldOf(await identityText({ url, headers, signal, label }), label);
  }

  /** IMDSv2: a token first, then the name of the role, then its keys. */
  private async ofMachine(signal: AbortSignal): Promise<Held | undefined> {
    const base = this.value('AWS_EC2_METADATA_SERVICE_ENDPOINT') ?? 'http://169.254.169.254';
    const label = 'the EC2 metadata server';
    const at = (path: string): URL => new URL(path, base);
    const token = await metadataText({
      url: at('/latest/api/token'),
      method: 'PUT',
      headers: { 'x-aws-ec2-metadata-token-ttl-seconds': '300' },
      signal,
      label,
    });
    if (token === undefined) return undefined;
    const headers = { 'x-aws-ec2-metadata-token': token };
    const path = '/latest/meta-data/iam/security-credentials/';
    const role = (await metadataText({ url: at(path), headers, signal, label }))?.split('\n')[0]?.trim();
    if (role === undefined || role === '') return undefined;
    const url = at(path + encodeURIComponent(role));
    const json = await metadataText({ url, headers, signal, label });
    return json === undefined ? undefined : heldOf(json, label);
  }

  private value(name: string): string | undefined {
    const text = this.environment[name]?.trim();
    return text === '' ? undefined : text;
  }
}

function heldOf(json: string, label: string): Held {
  const texts = textsOf(json, ['AccessKeyId', 'SecretAccessKey', 'Token', 'Expiration'], label);
  const { AccessKeyId: accessKeyId, SecretAccessKey: secretAccessKey, Token: sessionToken } = texts;
  return { keys: { accessKeyId, secretAccessKey, sessionToken }, expiresAtMs: expiry(texts.Expiration) };
}

function expiry(date: string | undefined): number {
  const atMs = Date.parse(date ?? '');
  return Number.isNaN(atMs) ? 0 : atMs;
}

/** A file that a cluster mounts. @throws ModelForbiddenError when it can't be read */
export async function readCredentialFile(path: string, variable: string): Promise<string> {
  return readFile(path, 'utf8').catch((cause: unknown) => {
    throw new ModelForbiddenError(`${variable}: ${path} cannot be read`, { cause });
  });
}
