import { z } from 'zod';
import { optional } from './fields.ts';
import type { Resources } from './pod-fields.ts';

/** Left out by most, so that they make no new revision of services that don't say them. */
export const executionShape = {
  executionProvider: optional(
    z
      .enum(['auto', 'cpu', 'cuda', 'webgpu'])
      .describe(
        'What ONNX Runtime computes on; auto, as when left out: by the GPU that the resources ask for.',
      ),
  ),
  executionProviderFallback: optional(
    z
      .enum(['cpu', 'refuse'])
      .describe('What happens where it can’t be had: served by the CPU, as when left out, or not at all.'),
  ),
};

interface Wishes {
  readonly executionProvider?: 'auto' | 'cpu' | 'cuda' | 'webgpu';
  readonly executionProviderFallback?: 'cpu' | 'refuse';
  readonly resources: Resources;
}

/** CUDA for NVIDIA's devices, whole or in parts; WebGPU for those of others. */
const CUDA_DEVICE = /^nvidia\.com\/(gpu|mig-.+)(\.shared)?$/;
const OTHER_GPU = /^(amd\.com\/gpu|gpu\.intel\.com\/.+)$/;

/** What a model is to be computed on; undefined for the CPU, which needs no word. */
export function executionOf(
  wishes: Wishes,
): { provider: 'cuda' | 'webgpu'; fallback: 'cpu' | 'refuse' } | undefined {
  const { executionProvider = 'auto', executionProviderFallback: fallback = 'cpu', resources } = wishes;
  if (executionProvider === 'cpu') return undefined;
  if (executionProvider !== 'auto') return { provider: executionProvider, fallback };
  const amounts = { ...resources.requests, ...resources.limits };
  const devices = Object.entries(amounts).flatMap(([name, amount]) => (amount > 0 ? [name] : []));
  if (devices.some((name) => CUDA_DEVICE.test(name))) return { provider: 'cuda', fallback };
  if (devices.some((name) => OTHER_GPU.test(name))) return { provider: 'webgpu', fallback };
  return undefined;
}
