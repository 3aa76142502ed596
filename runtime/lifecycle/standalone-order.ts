import type { TransformOrder } from '../../contracts/admin.ts';
import type { StandaloneOptions } from '../options.ts';
import { uriFromArgument } from '../storage/uri.ts';
import type { LoadOrder } from './load-order.ts';

/**
 * What a runtime on its own loads: a path is relative to `cwd`, and who asks a store says the environment of the
 * process, as for a pod.
 *
 * @throws PilotlightError `invalid-uri`.
 */
export function orderFromOptions(options: StandaloneOptions, cwd: string): LoadOrder {
  return {
    name: options.name,
    uri: uriFromArgument(options.model, cwd),
    instances: options.instances,
    threadsPerInstance: options.threads,
    requestTimeoutMs: options.requestTimeoutMs,
    startTimeoutMs: options.startTimeoutMs,
    warmUp: 'run',
    transform: transformOrder(options.transform),
  };
}

function transformOrder(transform: StandaloneOptions['transform']): TransformOrder | undefined {
  if (transform === undefined) return undefined;
  const { path, sha256, timeoutMs, memoryBytes } = transform;
  return { module: { path, ...(sha256 !== undefined && { sha256 }) }, timeoutMs, memoryBytes };
}
