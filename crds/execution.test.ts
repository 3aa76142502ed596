import { expect, test } from 'vitest';
import { executionOf } from './execution.ts';

const none = { requests: {}, limits: {} };

test.each([
  ['asks for no device', { resources: none }, undefined],
  ['asks for an NVIDIA GPU', { resources: { requests: {}, limits: { 'nvidia.com/gpu': 1 } } }, 'cuda'],
  [
    'asks for a part of one',
    { resources: { requests: {}, limits: { 'nvidia.com/mig-1g.10gb': 1 } } },
    'cuda',
  ],
  ['asks for none of them', { resources: { requests: {}, limits: { 'nvidia.com/gpu': 0 } } }, undefined],
  ['asks for an AMD GPU', { resources: { requests: { 'amd.com/gpu': 1 }, limits: {} } }, 'webgpu'],
  [
    'says the CPU beside a GPU',
    { executionProvider: 'cpu', resources: { requests: {}, limits: { 'nvidia.com/gpu': 1 } } },
    undefined,
  ],
  ['says WebGPU', { executionProvider: 'webgpu', resources: none }, 'webgpu'],
] as const)('a model that %s', (_what, wishes, provider) => {
  expect(executionOf(wishes)?.provider).toBe(provider);
});

test('the CPU serves where nothing else is said', () => {
  expect(executionOf({ executionProvider: 'cuda', resources: none })).toEqual({
    provider: 'cuda',
    fallback: 'cpu',
  });
  expect(
    executionOf({ executionProvider: 'cuda', executionProviderFallback: 'refuse', resources: none }),
  ).toEqual({
    provider: 'cuda',
    fallback: 'refuse',
  });
});
