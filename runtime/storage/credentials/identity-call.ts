import { ModelForbiddenError, ModelUnreachableError } from '../errors.ts';
import { type HttpRequest, httpRequestOnce, readText } from '../http-client.ts';

/** Tokens are a few kilobytes. */
const MAX_ANSWER_BYTES = 256 * 1024;
const CONNECT_TIMEOUT_MS = 5_000;
const IDLE_TIMEOUT_MS = 15_000;
/** A metadata server is on the node itself, or it is not there at all. */
const METADATA_TIMEOUT_MS = 1_000;

export type IdentityCall = Pick<HttpRequest, 'url' | 'method' | 'headers' | 'body' | 'signal' | 'label'>;

/**
 * Asks a service that gives out credentials. Its answer is never quoted in an error but for a code: it may hold
 * what it was asked for.
 *
 * @throws ModelForbiddenError when it refuses, ModelUnreachableError when it can't be reached
 */
export async function identityText(call: IdentityCall): Promise<string> {
  const { status, text } = await send(call, CONNECT_TIMEOUT_MS);
  if (status === 200) return text;
  if (status === 408 || status === 429 || status >= 500) {
    throw new ModelUnreachableError(`${call.label}: ${call.url.host} answers ${status}`);
  }
  const code = errorCode(text);
  throw new ModelForbiddenError(
    `${call.label}: ${call.url.host} gives out no credentials (${status}${code === undefined ? '' : ` ${code}`})`,
  );
}

/** What a metadata server of the node says; undefined where there is none or it has no such thing. */
export async function metadataText(call: IdentityCall): Promise<string | undefined> {
  try {
    const { status, text } = await send(call, METADATA_TIMEOUT_MS);
    return status === 200 ? text : undefined;
  } catch (error) {
    if (error instanceof ModelUnreachableError) return undefined;
    throw error;
  }
}

async function send(call: IdentityCall, connectTimeoutMs: number): Promise<{ status: number; text: string }> {
  const idleTimeoutMs = Math.max(connectTimeoutMs * 3, METADATA_TIMEOUT_MS);
  const answer = await httpRequestOnce({
    ...call,
    connectTimeoutMs,
    idleTimeoutMs: Math.min(idleTimeoutMs, IDLE_TIMEOUT_MS),
  });
  return { status: answer.status, text: await readText(answer.body, MAX_ANSWER_BYTES, call.label) };
}

/** A code such as `invalid_grant` or `AccessDenied`, and no more than a code. */
function errorCode(text: string): string | undefined {
  return (
    /"error"\s*:\s*"([A-Za-z_.-]{1,60})"/.exec(text)?.[1] ??
    /<Code>([A-Za-z_.-]{1,60})<\/Code>/.exec(text)?.[1]
  );
}

/**
 * A JSON object with text under each of the names.
 * @throws ModelForbiddenError that names what is missing, and nothing that is there
 */
export function textsOf<K extends string>(
  json: string,
  names: readonly K[],
  label: string,
): Record<K, string> {
  let parsed: unknown;
  try {
    parsed = JSON.parse(json);
  } catch {
    // The parser's own message would quote the text.
    throw new ModelForbiddenError(`${label}: expected a JSON object with ${names.join(', ')}`);
  }
  const found = (typeof parsed === 'object' && parsed !== null ? parsed : {}) as Record<string, unknown>;
  const texts: Partial<Record<K, string>> = {};
  for (const name of names) {
    const value = found[name];
    if (typeof value !== 'string' && typeof value !== 'number') {
      throw new ModelForbiddenError(`${label}: expected a JSON object with ${names.join(', ')}; no ${name}`);
    }
    texts[name] = String(value);
  }
  return texts as Record<K, string>;
}
