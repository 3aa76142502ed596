import { createHmac } from 'node:crypto';
import { ModelForbiddenError } from '../errors.ts';

/** Headers whose values are signed, in this order (Azure Storage REST, "Authorize with Shared Key", 2015-02-21 on). */
const SIGNED_HEADERS = [
  'content-encoding',
  'content-language',
  'content-length',
  'content-md5',
  'content-type',
  'date',
  'if-modified-since',
  'if-match',
  'if-none-match',
  'if-unmodified-since',
  'range',
] as const;

export interface SignedRequest {
  /** GET when absent. */
  method?: 'GET' | 'PUT';
  account: string;
  url: URL;
  headers: Readonly<Record<string, string>>;
}

/** What is signed of a request. */
function stringToSign({ method = 'GET', account, url, headers }: SignedRequest): string {
  const own = Object.entries(headers)
    .filter(([name]) => name.startsWith('x-ms-'))
    .sort(([left], [right]) => (left < right ? -1 : 1))
    .map(([name, value]) => `${name}:${value.trim()}`);
  const query = [...url.searchParams]
    .map(([name, value]) => [name.toLowerCase(), value] as const)
    .sort(([left], [right]) => (left < right ? -1 : 1))
    .map(([name, value]) => `${name}:${value}`);
  const resource = [`/${account}${url.pathname}`, ...query];
  return [method, ...SIGNED_HEADERS.map((name) => headers[name] ?? ''), ...own, ...resource].join('\n');
}

/**
 * The Authorization header of a request, signed with an account's key.
 * @throws ModelForbiddenError when the key is no base64; it is not shown
 */
export function sharedKeyAuthorization(request: SignedRequest & { key: string }): string {
  const { account, key } = request;
  if (!/^[A-Za-z0-9+/]{4,}={0,2}$/.test(key)) {
    throw new ModelForbiddenError(`the access key of Azure storage account ${account} is not base64`);
  }
  const text = stringToSign(request);
  const signature = createHmac('sha256', Buffer.from(key, 'base64')).update(text, 'utf8').digest('base64');
  return `SharedKey ${account}:${signature}`;
}
