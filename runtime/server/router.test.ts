import fc from 'fast-check';
import { expect, test } from 'vitest';
import { RouteCache, resolveRoute } from './router.ts';

test('each endpoint of the protocol is found, with or without a version, slash or query', () => {
  expect(resolveRoute('GET', '/v2')).toEqual({ kind: 'server-metadata' });
  expect(resolveRoute('GET', '/v2/')).toEqual({ kind: 'server-metadata' });
  expect(resolveRoute('GET', '/v2/health/live')).toEqual({ kind: 'live' });
  expect(resolveRoute('HEAD', '/v2/health/ready?x=1')).toEqual({ kind: 'ready' });
  expect(resolveRoute('GET', '/v2/models/m')).toEqual({
    kind: 'model-metadata',
    model: 'm',
    version: undefined,
  });
  expect(resolveRoute('GET', '/v2/models/m/versions/2/ready')).toEqual({
    kind: 'model-ready',
    model: 'm',
    version: '2',
  });
  expect(resolveRoute('POST', '/v2/models/m/infer')).toEqual({
    kind: 'infer',
    model: 'm',
    version: undefined,
  });
  expect(resolveRoute('POST', '/v2/models/m/versions/2/infer/')).toEqual({
    kind: 'infer',
    model: 'm',
    version: '2',
  });
  expect(resolveRoute('GET', '/v2/models/m/config')).toMatchObject({ kind: 'model-config' });
  expect(resolveRoute('GET', '/v2/models/m/stats')).toMatchObject({ kind: 'model-stats' });
  expect(resolveRoute('GET', '/v2/models/stats')).toEqual({ kind: 'all-stats' });
  expect(resolveRoute('POST', '/v2/repository/index')).toEqual({ kind: 'repository-index' });
  expect(resolveRoute('GET', '/v1/models')).toEqual({ kind: 'v1-models' });
  expect(resolveRoute('GET', '/v1/models/m')).toEqual({ kind: 'v1-model', model: 'm', version: undefined });
  expect(resolveRoute('POST', '/v1/models/a:b:predict')).toEqual({
    kind: 'v1-predict',
    model: 'a:b',
    version: undefined,
  });
  expect(resolveRoute('GET', 'http://somewhere:80/v2/health/live')).toEqual({ kind: 'live' });
});

test('names are percent-decoded, and a broken encoding is told', () => {
  expect(resolveRoute('POST', '/v2/models/a%20b%2Fc/infer')).toEqual({
    kind: 'infer',
    model: 'a b/c',
    version: undefined,
  });
  expect(resolveRoute('GET', '/v2/models/%zz')).toEqual({ kind: 'bad-encoding' });
  expect(resolveRoute('GET', '/v2/models/%ff')).toEqual({ kind: 'bad-encoding' });
});

test('dot segments are names, never a way up', () => {
  expect(resolveRoute('GET', '/v2/models/../health/live')).toEqual({ kind: 'not-found' });
  expect(resolveRoute('GET', '/v2/models/..%2F..%2Fetc')).toEqual({
    kind: 'model-metadata',
    model: '../../etc',
    version: undefined,
  });
});

test('another method is refused with those that are allowed', () => {
  expect(resolveRoute('GET', '/v2/models/m/infer')).toEqual({ kind: 'method-not-allowed', allow: 'POST' });
  expect(resolveRoute('DELETE', '/v2/models/m')).toEqual({ kind: 'method-not-allowed', allow: 'GET, HEAD' });
});

test('what is not there is not found', () => {
  for (const path of [
    '/',
    '',
    '*',
    '/v3',
    '/v2/x',
    '/v2/models//infer',
    '/v2/models/m/infer/x',
    '/v1',
    '/v1/models/:predict',
    '/v2/models/m/versions',
    '/v2/models/',
  ]) {
    const kind = resolveRoute('GET', path).kind;
    expect([path, kind]).toEqual([path, path === '/v2/models/' ? 'models' : 'not-found']);
  }
});

test('any target gives an answer, and the cache gives the same one', () => {
  const cache = new RouteCache();
  const piece = fc.oneof(
    fc.constantFrom('/', 'v2', 'models', 'infer', '%', '..', 'versions', ':predict'),
    fc.string(),
  );
  fc.assert(
    fc.property(
      fc.array(piece, { maxLength: 12 }),
      fc.constantFrom('GET', 'POST', 'PUT'),
      (pieces, method) => {
        const target = pieces.join('');
        const found = resolveRoute(method, target);
        expect(cache.resolve(method, target)).toEqual(found);
        expect(cache.resolve(method, target)).toEqual(found);
      },
    ),
  );
});

test('any name comes out of a path as it went in', () => {
  fc.assert(
    fc.property(fc.string({ minLength: 1, unit: 'grapheme' }), (name) => {
      const target = `/v2/models/${encodeURIComponent(name)}/infer`;
      expect(resolveRoute('POST', target)).toEqual({ kind: 'infer', model: name, version: undefined });
    }),
  );
});
