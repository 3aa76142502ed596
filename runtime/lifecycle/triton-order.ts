import type { ModelSignature } from '../core/model-signature.ts';
import type { TritonConfig } from '../core/triton/model-config.ts';
import type { OpenedModel } from '../storage/open-model.ts';
import type { LoadOrder } from './load-order.ts';

/** An order, completed by the configuration that lies beside the model. */
export interface ConfiguredOrder {
  order: LoadOrder;
  /** See `LoadModelOptions.narrow`. */
  narrow: ((signature: ModelSignature) => ModelSignature) | undefined;
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
  if (!companions.some(({ path }) => path.endsWith('/config.pbtxt'))) return { order, narrow: undefined };
  const [{ companionText }, { parseConfigFile, TRITON_CONFIG }, { configuredSignature }] = await Promise.all([
    import('../transform/companion-text.ts'),
    import('../storage/triton-folder.ts'),
    import('../core/triton/configured-signature.ts'),
  ]);
  const text = await companionText({ path: TRITON_CONFIG }, companions, signal);
  const config = parseConfigFile(text, TRITON_CONFIG);
  return {
    order: completed(order, config),
    narrow: (signature) => configuredSignature(config, signature),
  };
}

/** What the service says goes first; the configuration speaks where it says nothing. */
function completed(order: LoadOrder, config: TritonConfig): LoadOrder {
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
