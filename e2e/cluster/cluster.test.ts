import { afterEach, expect, test, vi } from 'vitest';
import { clusterOrigin, connectCluster, imageInRegistry } from './cluster.ts';

afterEach(() => vi.unstubAllEnvs());

test('the cluster is ours unless the current one is asked for; anything else is refused', () => {
  vi.stubEnv('E2E_CLUSTER', '');
  expect(clusterOrigin()).toBe('kind');
  vi.stubEnv('E2E_CLUSTER', 'current');
  expect(clusterOrigin()).toBe('current');
  vi.stubEnv('E2E_CLUSTER', 'curent');
  expect(clusterOrigin).toThrow('"curent"');
});

test('the current cluster takes a kubeconfig', async () => {
  vi.stubEnv('E2E_CLUSTER', 'current');
  vi.stubEnv('KUBECONFIG', '/does/not/exist');
  await expect(connectCluster()).rejects.toMatchObject({ code: 'E2E_NO_CLUSTER' });
});

test('an image of a foreign cluster lies below the registry that was named', () => {
  expect(imageInRegistry('pilotlight/runtime:1', 'ghcr.io/us/')).toBe('ghcr.io/us/pilotlight/runtime:1');
});

test('without a registry the error says what to push where', () => {
  expect(() => imageInRegistry('pilotlight/runtime:1', undefined)).toThrow(
    /<registry>\/pilotlight\/runtime:1.*E2E_IMAGE_REGISTRY/,
  );
});
