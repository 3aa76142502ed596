import type { AutoscalerSpec } from './spec.ts';

/**
 * Requests that could come on top of the present load before any would queue, less the burst to keep
 * room for. Negative: the activator has to be in the path. It goes by the panic window: 4 ready × 100 −
 * 211 − 150 at once = 39. A target of 0 asks for no room (0), -1 for the activator always (-1).
 */
export function excessBurstCapacity(
  spec: AutoscalerSpec,
  readyReplicas: number,
  observedPanic: number,
): number {
  if (spec.targetBurstCapacity === 0) return 0;
  if (spec.targetBurstCapacity < 0) return -1;
  return Math.floor(readyReplicas * spec.targetCapacity - spec.targetBurstCapacity - observedPanic);
}
