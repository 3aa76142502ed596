import type { ModelSignature } from '../core/model-signature.ts';
import type { Tensor } from '../core/tensor.ts';
import type { TritonConfig } from '../core/triton/model-config.ts';
import type { LoadModelOptions } from '../engine/load-model.ts';
import type { OpenedModel } from '../storage/open-model.ts';
import type { LoadOrder } from './load-order.ts';

/** An order, completed by the configuration that lies beside the model. */
export interface ConfiguredOrder {
  order: LoadOrder;
  /** What of it is for the model itself. */
  model: Pick<LoadModelOptions, 'narrow' | 'warmUpSamples'>;
}

/**
 * Completes an order by Triton's `config.pbtxt`, where the model came with one.
 *
 * @throws PilotlightError `model-layout`, `unsupported`, `model-digest-mismatch`
 */
export async function configuredOrder(
  order: LoadOrder,
  companions: OpenedModel['companions'],
  signal: AbortSignal,
): Promise<ConfiguredOrder> {
  if (!companions.some(({ path }) => path.endsWith('/config.pbtxt'))) return { order, model: {} };
  const [files, folder, { configuredSignature }, samples] = await Promise.all([
    import('../transform/companion-text.ts'),
    import('../storage/triton-folder.ts'),
    import('../core/triton/configured-signature.ts'),
    import('../core/triton/warm-up-samples.ts'),
  ]);
  const { TRITON_CONFIG, WARM_UP_FOLDER } = folder;
  const text = await files.companionText({ path: TRITON_CONFIG }, companions, signal);
  const config = folder.parseConfigFile(text, TRITON_CONFIG);
  let signature: ModelSignature | undefined;
  const narrow = (whole: ModelSignature): ModelSignature => {
    signature = configuredSignature(config, whole);
    samples.checkSamples(config.warmUp, signature);
    return signature;
  };
  const warmUpSamples = async (): Promise<Iterable<readonly Tensor[]>> => {
    const bytes = new Map<string, Uint8Array>();
    for (const name of samples.warmUpFiles(config.warmUp)) {
      const file = { path: `${WARM_UP_FOLDER}/${name}` };
      bytes.set(name, await files.companionBytes(file, companions, signal));
    }
    return signature === undefined ? [] : samples.warmUpRuns(config.warmUp, signature, bytes, Math.random);
  };
  const hasSamples = config.warmUp.length > 0;
  return {
    order: completed(order, config),
    model: { narrow, ...(hasSamples && { warmUpSamples }) },
  };
}

/** What the service says goes first; the configuration speaks where it says nothing. */
export function completed(order: LoadOrder, config: TritonConfig): LoadOrder {
  const { maxBatchSize = 0, dynamicBatching, kind } = config;
  const isOnCpu = order.execution === undefined || order.execution.provider === 'cpu';
  return {
    ...order,
    instances: order.instances ?? config.instances,
    threadsPerInstance: order.threadsPerInstance ?? config.threadsPerInstance,
    // Triton doesn't load such a model on a machine without a GPU either.
    execution: kind === 'KIND_GPU' && isOnCpu ? { provider: 'cuda', fallback: 'refuse' } : order.execution,
    batching:
      order.batching ??
      (dynamicBatching === undefined
        ? { maxBatchSize: 1, maxLatencyMs: 0 }
        : { maxBatchSize, maxLatencyMs: dynamicBatching.maxLatencyMs }),
  };
}
