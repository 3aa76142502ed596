import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { parseModelUri, redactUri, uriFromArgument } from './uri.ts';

const DIGEST = 'a'.repeat(64);

describe('parseModelUri', () => {
  test.each([
    ['file:///models/a.onnx', { scheme: 'file', path: '/models/a.onnx', sha256: undefined }],
    ['file:/models/a%20b', { scheme: 'file', path: '/models/a b', sha256: undefined }],
    ['file://localhost/models', { scheme: 'file', path: '/models', sha256: undefined }],
    [
      'https://host:8443/x/m.onnx?v=2',
      { scheme: 'http', url: 'https://host:8443/x/m.onnx?v=2', sha256: undefined },
    ],
    ['HTTP://host/m.onnx', { scheme: 'http', url: 'http://host/m.onnx', sha256: undefined }],
    ['s3://bucket', { scheme: 's3', bucket: 'bucket', key: '', sha256: undefined }],
    ['gs://bucket/a/m.onnx', { scheme: 'gs', bucket: 'bucket', key: 'a/m.onnx', sha256: undefined }],
    ...[
      'https://account1.blob.core.windows.net/models/a%20b/m.onnx',
      'abfss://models@account1.dfs.core.windows.net/a b/m.onnx',
      'wasbs://models@account1.blob.core.windows.net/a b/m.onnx',
    ].map((uri): [string, object] => [
      uri,
      {
        scheme: 'azure',
        account: 'account1',
        hostSuffix: 'blob.core.windows.net',
        container: 'models',
        path: 'a b/m.onnx',
        sha256: undefined,
      },
    ]),
    [
      'https://account1.blob.core.windows.net/models/',
      {
        scheme: 'azure',
        account: 'account1',
        hostSuffix: 'blob.core.windows.net',
        container: 'models',
        path: '',
        sha256: undefined,
      },
    ],
    [
      'https://account1.blob.core.windows.net/models/m.onnx?sv=2021&sig=x',
      {
        scheme: 'http',
        url: 'https://account1.blob.core.windows.net/models/m.onnx?sv=2021&sig=x',
        sha256: undefined,
      },
    ],
    [
      's3://my.bucket-1/a/b+c%20d?e#f',
      { scheme: 's3', bucket: 'my.bucket-1', key: 'a/b+c%20d?e#f', sha256: undefined },
    ],
    [
      `https://h/m.onnx#sha256=${DIGEST.toUpperCase()}`,
      { scheme: 'http', url: 'https://h/m.onnx', sha256: DIGEST },
    ],
    [
      `s3://bucket/m.onnx#sha256=${DIGEST}`,
      { scheme: 's3', bucket: 'bucket', key: 'm.onnx', sha256: DIGEST },
    ],
    [`file:///m.onnx#sha256=${DIGEST}`, { scheme: 'file', path: '/m.onnx', sha256: DIGEST }],
  ])('reads %s', (text, expected) => {
    expect(parseModelUri(text)).toEqual(expected);
  });

  test.each(['hf', 'oci', 'azure', 'hdfs'])('says that %s: is not built yet', (scheme) => {
    expect(() => parseModelUri(`${scheme}://somewhere/model`)).toThrow(
      `not supported yet: storageUri scheme ${scheme}`,
    );
    expect(() => parseModelUri(`${scheme}://somewhere/model`)).toThrow(
      expect.objectContaining({ code: 'unsupported' }),
    );
  });

  test.each(['https://h/m.zip', 's3://bucket/m.tar.gz', 'file:///m.TGZ', 'https://h/m.tar?x=y'])(
    'says that archives are not built yet: %s',
    (uri) => {
      expect(() => parseModelUri(uri)).toThrow(expect.objectContaining({ code: 'unsupported' }));
    },
  );

  test.each([
    ['models/a.onnx', 'has no scheme'],
    ['', 'has no scheme'],
    ['foo://x/y', 'unknown scheme "foo"'],
    ['file:models/a.onnx', 'absolute path'],
    ['file://other-host/models', 'absolute path'],
    ['file:///a?b', 'write ? as %3F'],
    ['file:///a%2Fb', 'no valid file URI'],
    ['https://', 'no valid URL'],
    ['https://host/', 'names a folder'],
    ['https://host/models/', 'names a folder'],
    ['https://user:secret@host/m.onnx', 'put them into a Secret'],
    ['https://host/m.onnx#main', 'only fragment'],
    ['https://host/m.onnx#sha256=12', '64 hex digits'],
    ['s3:///key', 'no bucket name'],
    ['s3://a', 'no bucket name'],
    ['s3://buck et/key', 'no bucket name'],
    ['s3://bucket//key', 'empty or "." segment'],
    ['s3://bucket/a/./b', 'empty or "." segment'],
    [`s3://bucket/${'k'.repeat(5000)}`, 'characters long'],
  ])('refuses %s', (uri, message) => {
    expect(() => parseModelUri(uri)).toThrow(message);
    expect(() => parseModelUri(uri)).toThrow(expect.objectContaining({ code: 'invalid-uri', status: 400 }));
  });

  test('no spelling of a climb, a backslash or a control character gets past, for any scheme', () => {
    const prefix = fc.constantFrom('file:///models/', 'https://host/models/', 's3://bucket/models/');
    const climb = fc.constantFrom(
      '..',
      '%2e%2e',
      '.%2E',
      '%252e%252e',
      '%25252e.',
      'a\\b',
      'a%5cb',
      'a%255Cb',
      'a\0b',
      'a%00b',
      'a%2500b',
      'a\nb',
      'a%0Ab',
    );
    const segment = fc.stringMatching(/^[a-z0-9._-]{1,8}$/);
    fc.assert(
      fc.property(
        prefix,
        fc.array(segment, { maxLength: 3 }),
        climb,
        fc.array(segment, { maxLength: 3 }),
        (start, before, bad, after) => {
          expect(() => parseModelUri(start + [...before, bad, ...after].join('/'))).toThrow(
            expect.objectContaining({ code: 'invalid-uri' }),
          );
        },
      ),
    );
    expect(() => parseModelUri('file:///models/a%2f..%2f..%2fetc/passwd')).toThrow('climbs out');
    expect(() => parseModelUri('https://host/a/../m.onnx')).toThrow('climbs out');
    expect(() => parseModelUri('s3://bucket/a?/../b')).toThrow('climbs out');
  });

  test('any text gives a model URI or one of our errors', () => {
    fc.assert(
      fc.property(
        fc.oneof(fc.string(), fc.webUrl({ withQueryParameters: true, withFragments: true })),
        (text) => {
          try {
            parseModelUri(text);
          } catch (error) {
            expect(['invalid-uri', 'unsupported']).toContain((error as { code?: unknown }).code);
          }
        },
      ),
    );
  });
});

test('dots inside a name are no climb', () => {
  expect(parseModelUri('https://host/v1..2/m..onnx')).toMatchObject({ scheme: 'http' });
});

test('the query of an HTTP URL may hold dots', () => {
  expect(parseModelUri('https://host/m.onnx?from=../x')).toMatchObject({ scheme: 'http' });
});

describe('redactUri', () => {
  test('drops what signs or authorises, keeps the rest', () => {
    expect(redactUri('https://u:p@h/m.onnx?v=1&X-Amz-Signature=s&X-Amz-Date=d&token=t&part=2')).toBe(
      'https://h/m.onnx?v=1&part=2',
    );
    expect(redactUri('https://h/m.onnx?sig=abc')).toBe('https://h/m.onnx');
    expect(redactUri(`https://h/m.onnx?sig=abc#sha256=${DIGEST}`)).toBe(`https://h/m.onnx#sha256=${DIGEST}`);
    expect(redactUri('s3://bucket/a?b')).toBe('s3://bucket/a?b');
  });
});

describe('uriFromArgument', () => {
  test('a path becomes a file URI that parses back to it', () => {
    expect(parseModelUri(uriFromArgument('./a b/m.onnx', '/home/me/dir'))).toMatchObject({
      path: '/home/me/dir/a b/m.onnx',
    });
    expect(parseModelUri(uriFromArgument('../up/m#1?.onnx', '/home/me/dir'))).toMatchObject({
      path: '/home/me/up/m#1?.onnx',
    });
    expect(parseModelUri(uriFromArgument('/abs/100%.onnx', '/'))).toMatchObject({ path: '/abs/100%.onnx' });
  });

  test('a URI stays as it is', () => {
    expect(uriFromArgument('s3://b/k', '/')).toBe('s3://b/k');
  });
});
