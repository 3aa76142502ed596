import fc from 'fast-check';
import { expect, test } from 'vitest';
import { objectPath, RESOURCES } from './paths.ts';

test('paths of collections, objects and subresources, with and without a namespace', () => {
  const { pods, nodes, leases } = RESOURCES;
  expect(objectPath(pods)).toBe('/api/v1/pods');
  expect(objectPath({ ...pods, namespace: 'a' })).toBe('/api/v1/namespaces/a/pods');
  expect(objectPath({ ...nodes, name: 'n' })).toBe('/api/v1/nodes/n');
  expect(objectPath({ ...leases, namespace: 'a', name: 'b', subresource: 'status' })).toBe(
    '/apis/coordination.k8s.io/v1/namespaces/a/leases/b/status',
  );
});

test.each([
  { ...RESOURCES.pods, namespace: '', name: 'a' },
  { ...RESOURCES.pods, namespace: 'a', name: '' },
  { ...RESOURCES.pods, namespace: 'a', name: '..' },
  { ...RESOURCES.pods, namespace: 'a', subresource: 'status' },
])('what would be the path of something else is refused: %j', (path) => {
  expect(() => objectPath(path)).toThrow(TypeError);
});

test('no name leaves its place in the path', () => {
  fc.assert(
    fc.property(
      fc.string({ minLength: 1 }).filter((name) => !['.', '..'].includes(name) && name.isWellFormed()),
      (name) => {
        const url = new URL(objectPath({ ...RESOURCES.pods, namespace: 'a', name }), 'http://x');
        expect(url.search + url.hash).toBe('');
        const parts = url.pathname.split('/');
        expect(parts).toHaveLength(7);
        expect(decodeURIComponent(parts[6] ?? '')).toBe(name);
      },
    ),
  );
});
