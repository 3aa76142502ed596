import type { S3Access } from '../../contracts/admin.ts';
import type { StandaloneOptions } from '../options.ts';
import { uriFromArgument } from '../storage/uri.ts';
import type { LoadOrder } from './load-order.ts';

type Environment = Readonly<Record<string, string | undefined>>;

/**
 * What a runtime on its own loads: a path is relative to `cwd`, and access to S3 comes from the environment
 * variables that AWS's own tools read.
 *
 * @throws PilotlightError `invalid-uri`.
 */
export function orderFromOptions(
  options: StandaloneOptions,
  environment: Environment,
  cwd: string,
): LoadOrder {
  return {
    name: options.name,
    uri: uriFromArgument(options.model, cwd),
    s3: s3FromEnvironment(environment),
    instances: options.instances,
    threadsPerInstance: options.threads,
    requestTimeoutMs: options.requestTimeoutMs,
    startTimeoutMs: options.startTimeoutMs,
    warmUp: 'run',
  };
}

/** `AWS_ACCESS_KEY_ID` and its like; without a key the store is asked anonymously. */
function s3FromEnvironment(environment: Environment): S3Access {
  const value = (name: string): string | undefined => environment[name] || undefined;
  const found: Record<string, string | undefined> = {
    endpoint: value('AWS_ENDPOINT_URL_S3') ?? value('AWS_ENDPOINT_URL'),
    region: value('AWS_REGION') ?? value('AWS_DEFAULT_REGION'),
    accessKeyId: value('AWS_ACCESS_KEY_ID'),
    secretAccessKey: value('AWS_SECRET_ACCESS_KEY'),
    sessionToken: value('AWS_SESSION_TOKEN'),
  };
  const access: S3Access = Object.fromEntries(Object.entries(found).filter(([, text]) => text !== undefined));
  return access.accessKeyId === undefined ? { ...access, anonymous: true } : access;
}
