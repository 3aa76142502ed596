import type { AzureAccess } from '../../../contracts/storage-access.ts';
import type { AzureLocation } from '../azure-uri.ts';
import type { AzureTokens } from '../credentials/azure.ts';
import { InvalidModelUriError, ModelForbiddenError } from '../errors.ts';
import { statusError } from '../http-answer.ts';
import { type HttpAnswer, httpGet, readText } from '../http-client.ts';
import type { StorageLimits } from '../storage-types.ts';
import { sharedKeyAuthorization } from './azure-shared-key.ts';
import { parseBlobPage } from './azure-xml.ts';
import { EtaggedObjectSource } from './etagged-object-source.ts';
import { BucketNotFoundError, encodeKey, MAX_TEXT_BYTES, type ObjectPage } from './object-source.ts';

/** Version of the service's protocol: bearer tokens need 2017-11-09 or later. */
const API_VERSION = '2021-12-02';

/** A model in a container of Azure Blob Storage. */
export class AzureBlobSource extends EtaggedObjectSource {
  private readonly location: AzureLocation;
  private readonly access: AzureAccess;
  private readonly tokens: AzureTokens;
  private readonly endpoint: string;

  constructor(location: AzureLocation, access: AzureAccess, tokens: AzureTokens, limits: StorageLimits) {
    const { account, hostSuffix, container, path } = location;
    super(`https://${account}.${hostSuffix}/${container}/`, path, limits);
    this.location = location;
    this.access = access;
    this.tokens = tokens;
    this.endpoint = azureEndpoint(location, access.endpoint);
  }

  protected getObject(
    key: string,
    headers: Record<string, string>,
    signal: AbortSignal,
  ): Promise<HttpAnswer> {
    return this.get(key, {}, headers, signal);
  }

  protected async listPage(
    prefix: string,
    next: string | undefined,
    signal: AbortSignal,
  ): Promise<ObjectPage> {
    const query = { restype: 'container', comp: 'list', prefix, ...(next !== undefined && { marker: next }) };
    const answer = await this.get('', query, {}, signal);
    await this.refuseFailure(answer, this.label);
    return parseBlobPage(await readText(answer.body, MAX_TEXT_BYTES, this.label), this.label);
  }

  private async get(
    name: string,
    query: Record<string, string>,
    wanted: Record<string, string>,
    signal: AbortSignal,
  ): Promise<HttpAnswer> {
    const url = new URL(`${this.endpoint}/${encodeKey(this.location.container)}`);
    if (name !== '') url.pathname += `/${encodeKey(name)}`;
    for (const [key, value] of Object.entries(query)) if (value !== '') url.searchParams.set(key, value);
    const headers: Record<string, string> = {
      ...wanted,
      'x-ms-version': API_VERSION,
      'x-ms-date': new Date().toUTCString(),
    };
    await this.authorise(url, headers);
    return httpGet({
      url,
      headers,
      signal,
      connectTimeoutMs: this.limits.connectTimeoutMs,
      idleTimeoutMs: this.limits.idleTimeoutMs,
      // A signature holds for this request, and a token is for Azure alone.
      redirects: 0,
      label: this.label,
    });
  }

  private async authorise(url: URL, headers: Record<string, string>): Promise<void> {
    const { anonymous, accountKey, sasToken } = this.access;
    if (anonymous === true) return;
    if (accountKey !== undefined) {
      headers['authorization'] = sharedKeyAuthorization({
        account: this.location.account,
        key: accountKey,
        url,
        headers,
      });
      return;
    }
    if (sasToken !== undefined) {
      for (const [name, value] of new URLSearchParams(sasToken)) url.searchParams.set(name, value);
      return;
    }
    const bearer = await this.tokens.bearer();
    if (bearer !== undefined) headers['authorization'] = `Bearer ${bearer}`;
  }

  protected async refuseFailure(answer: HttpAnswer, label: string): Promise<void> {
    if (answer.status === 200 || answer.status === 206) return;
    const code = answer.headers['x-ms-error-code'];
    const said = typeof code === 'string' && /^[A-Za-z]{1,60}$/.test(code) ? code : '';
    answer.body.destroy();
    const status = `${answer.status}${said === '' ? '' : ` ${said}`}`;
    if (said === 'ContainerNotFound') {
      throw new BucketNotFoundError(`${label}: there is no container ${this.location.container} (${status})`);
    }
    // What nobody may see anonymously, Azure hides or calls a conflict.
    if (
      said === 'ResourceNotFound' ||
      said === 'PublicAccessNotPermitted' ||
      said === 'NoAuthenticationInformation'
    ) {
      throw new ModelForbiddenError(`${label}: not readable without credentials (${status})`);
    }
    throw statusError(answer.status, answer.headers, label, said);
  }
}

/** The base URL of the account, without a slash at its end. */
export function azureEndpoint(
  { account, hostSuffix }: Pick<AzureLocation, 'account' | 'hostSuffix'>,
  endpoint: string | undefined,
): string {
  if (endpoint === undefined) return `https://${account}.${hostSuffix}`;
  const url = URL.parse(endpoint);
  if (url === null || (url.protocol !== 'https:' && url.protocol !== 'http:')) {
    throw new InvalidModelUriError(
      `the Azure service URL "${endpoint}" is no URL; expected https://host[/account]`,
    );
  }
  return `${url.origin}${url.pathname}`.replace(/\/+$/, '');
}
