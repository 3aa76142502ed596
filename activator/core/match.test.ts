import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { ServiceRoute } from '../../contracts/routes.ts';
import { editDistance, lookAlikes } from './look-alikes.ts';
import { findService, isInferenceCall, modelInPath, normaliseHost } from './match.ts';
import { RoutingTable } from './routing-table.ts';

function service(name: string, changes: Partial<ServiceRoute> = {}): ServiceRoute {
  return {
    uid: `uid-${name}`,
    namespace: 'demo',
    name,
    hosts: [`${name}.demo`],
    models: [name],
    startTimeoutMs: 1,
    requestTimeoutMs: 1,
    queue: { maxRequests: 1, maxBytes: 1 },
    retryAll: false,
    revisions: [],
    ...changes,
  };
}

function tableOf(...services: ServiceRoute[]): RoutingTable {
  const table = new RoutingTable();
  table.apply({ type: 'snapshot', stream: 's', number: 0, services });
  return table;
}

test.each([
  ['OCR.Demo', 'ocr.demo'],
  ['ocr.demo.', 'ocr.demo'],
  ['ocr.demo:8080', 'ocr.demo'],
  ['ocr.demo.:80', 'ocr.demo'],
  ['[::1]:80', '[::1]'],
  ['[::1]', '[::1]'],
  ['', ''],
])('host %s is read as %s', (host, bare) => expect(normaliseHost(host)).toBe(bare));

test('host wins over path, path over model', () => {
  const table = tableOf(service('a'), service('b'), service('c'));
  const found = (host: string, path: string): unknown => {
    const match = findService(table, host, path);
    return match.kind === 'found' ? `${match.service.name} ${match.path}` : match.message;
  };
  expect(found('a.demo', '/demo/b/x')).toBe('a /demo/b/x');
  expect(found('localhost', '/demo/b/x?y')).toBe('b /x?y');
  expect(found('localhost', '/v2/models/c/infer')).toBe('c /v2/models/c/infer');
  expect(found('a.demo', '/v2/models/c/infer')).toBe('a /v2/models/c/infer');
});

test('a name that two services claim belongs to the first, and to the second once that is gone', () => {
  const table = tableOf(service('a', { hosts: ['same.demo'] }), service('b', { hosts: ['same.demo'] }));
  expect(table.byHost('same.demo')?.name).toBe('a');
  table.apply({ type: 'removed', number: 1, uid: 'uid-a' });
  expect(table.byHost('same.demo')?.name).toBe('b');
  table.apply({ type: 'service', number: 2, service: service('b') });
  expect(table.byHost('same.demo')).toBeUndefined();
  expect(table.byHost('b.demo')?.name).toBe('b');
});

test('a snapshot replaces everything', () => {
  const table = tableOf(service('a'), service('b'));
  table.apply({ type: 'snapshot', stream: 't', number: 5, services: [service('c')] });
  expect([...table.services()].map(({ name }) => name)).toEqual(['c']);
  expect(table.byHost('a.demo')).toBeUndefined();
  expect(table.byModel('b')).toEqual([]);
  expect([...table.namesOf('demo')]).toEqual(['c']);
});

test.each([
  ['/v2/models/m/infer', 'm'],
  ['/v2/models/m/versions/1/infer', 'm'],
  ['/v1/models/m:predict', 'm'],
  ['/v1/models/m', 'm'],
  ['/v2/models/a%20b', 'a b'],
  ['/v2/models/%zz', '%zz'],
  ['/v2/models/', undefined],
  ['/v3/models/m', undefined],
])('the model in %s is %s', (path, model) => expect(modelInPath(path)).toBe(model));

test.each([
  ['POST', '/v2/models/m/infer', true],
  ['POST', '/v2/models/m/versions/1/infer', true],
  ['POST', '/v1/models/m:predict', true],
  ['POST', '/v1/models/m:explain', false],
  ['POST', '/v2/repository/models/m/load', false],
  ['GET', '/v2/models/m/infer', false],
  ['POST', '/inference.GRPCInferenceService/ModelInfer', true],
  ['POST', '/inference.GRPCInferenceService/ModelStreamInfer', false],
])('%s %s is an inference call: %s', (method, path, expected) => {
  expect(isInferenceCall(method, path)).toBe(expected);
});

/** The textbook table, without bounds. */
function plainDistance(one: string, other: string): number {
  let previous = Array.from({ length: other.length + 1 }, (_, index) => index);
  for (const [row, letter] of one.split('').entries()) {
    const current = [row + 1];
    for (let column = 1; column <= other.length; column++) {
      const replaced = (previous[column - 1] ?? 0) + (letter === other[column - 1] ? 0 : 1);
      current.push(Math.min(replaced, (previous[column] ?? 0) + 1, (current[column - 1] ?? 0) + 1));
    }
    previous = current;
  }
  return previous[other.length] ?? 0;
}

test('the bounded edit distance is the plain one up to its limit', () => {
  const name = fc.string({ unit: fc.constantFrom('a', 'b', 'c'), maxLength: 8 });
  fc.assert(
    fc.property(name, name, fc.integer({ min: 1, max: 4 }), (one, other, limit) => {
      expect(editDistance(one, other, limit)).toBe(Math.min(plainDistance(one, other), limit + 1));
    }),
  );
});

test('look-alikes are the nearest names, at most three, none for nonsense', () => {
  const names = ['recogniser', 'recognizers', 'recognise', 'recogniser-2', 'vad'];
  expect(lookAlikes('recognizer', names)).toEqual(['recogniser', 'recognizers', 'recognise']);
  expect(lookAlikes('zzz', names)).toEqual([]);
  expect(lookAlikes('x'.repeat(1_000), names)).toEqual([]);
});

test('a host of a revision alone leads to it, unless a service is called so itself', () => {
  const table = new RoutingTable();
  const revision = (name: string, hosts: string[]) => ({
    name,
    hosts,
    weightPercent: 0,
    endpoints: [],
    kind: 'runtime' as const,
  });
  const ocr = service('ocr');
  ocr.revisions.push(revision('ocr-1', ['prev-ocr.demo']), revision('ocr-2', ['latest-ocr.demo']));
  table.apply({ type: 'service', number: 1, service: ocr });
  expect(findService(table, 'prev-ocr.demo:80', '/x')).toMatchObject({ kind: 'found', revision: 'ocr-1' });
  expect(findService(table, 'Latest-OCR.demo', '/x')).toMatchObject({ kind: 'found', revision: 'ocr-2' });
  expect(findService(table, 'ocr.demo', '/x')).not.toHaveProperty('revision');
  const other = service('prev-ocr');
  table.apply({ type: 'service', number: 2, service: other });
  expect(findService(table, 'prev-ocr.demo', '/x')).toMatchObject({ service: { uid: 'uid-prev-ocr' } });
  table.apply({ type: 'removed', number: 3, uid: 'uid-prev-ocr' });
  table.apply({ type: 'service', number: 4, service: { ...ocr, revisions: ocr.revisions.slice(1) } });
  expect(findService(table, 'prev-ocr.demo', '/x')).toMatchObject({ kind: 'unknown' });
});

test('a host of the cluster that names a service which is gone is not answered by a namesake elsewhere', () => {
  const table = tableOf(service('ocr'));
  const path = '/v2/models/ocr/infer';
  for (const host of ['ocr.gone.svc', 'ocr.gone.svc.cluster.local'])
    expect(findService(table, host, path)).toMatchObject({ kind: 'unknown' });
  // The Service in front of all activators names none of them, nor does a host from outside.
  for (const host of ['pilotlight-activator.pilotlight-system.svc.cluster.local', 'models.example.com', ''])
    expect(findService(table, host, path)).toMatchObject({ kind: 'found', service: { name: 'ocr' } });
});
