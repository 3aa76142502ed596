import type { LabelsOrder, TransformOrder } from '../../contracts/admin.ts';
import { PilotlightError } from '../../contracts/errors.ts';
import { type ImageInput, imageInputProblem, imageInputSchema } from '../../contracts/image-input.ts';
import type { StandaloneOptions } from '../options.ts';
import { uriFromArgument } from '../storage/uri.ts';
import type { LoadOrder } from './load-order.ts';

/**
 * What a runtime on its own loads: a path is relative to `cwd`, and who asks a store says the environment of the
 * process, as for a pod.
 *
 * @throws PilotlightError `invalid-uri`, `invalid-request` for settings that can't be.
 */
export function orderFromOptions(options: StandaloneOptions, cwd: string): LoadOrder {
  return {
    name: options.name,
    uri: uriFromArgument(options.model, cwd),
    instances: options.instances,
    threadsPerInstance: options.threads,
    execution: { provider: options.executionProvider, fallback: options.executionProviderFallback },
    batching: options.batching,
    requestTimeoutMs: options.requestTimeoutMs,
    startTimeoutMs: options.startTimeoutMs,
    warmUp: 'run',
    transform: transformOrder(options.transform),
    image: imageInput(options.imageInput),
    labels: labelsOrder(options.labels),
  };
}

function transformOrder(transform: StandaloneOptions['transform']): TransformOrder | undefined {
  if (transform === undefined) return undefined;
  const { path, sha256, timeoutMs, memoryBytes } = transform;
  return { module: { path, ...(sha256 !== undefined && { sha256 }) }, timeoutMs, memoryBytes };
}

function imageInput(json: string | undefined): ImageInput | undefined {
  if (json === undefined) return undefined;
  const invalid = (message: string): PilotlightError =>
    new PilotlightError(
      'invalid-request',
      `--image-input: expected settings such as '{"fit": "cover"}': ${message}`,
    );
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch (error) {
    throw invalid(error instanceof Error ? error.message : String(error));
  }
  const parsed = imageInputSchema.safeParse(value);
  if (!parsed.success) {
    throw invalid(parsed.error.issues.map(({ path, message }) => `${path.join('.')}: ${message}`).join('; '));
  }
  const problem = imageInputProblem(parsed.data);
  if (problem !== undefined) throw invalid(problem);
  return parsed.data;
}

function labelsOrder(labels: StandaloneOptions['labels']): LabelsOrder | undefined {
  if (labels === undefined) return undefined;
  return { file: { path: labels.path }, top: labels.top, keepScores: false };
}
