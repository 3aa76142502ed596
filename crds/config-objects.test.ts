import { describe, expect, it } from 'vitest';
import { parseConfigObject } from './config-objects.ts';

const encode = (bytes: string | number[]) => Buffer.from(bytes as string).toString('base64');

describe('a Secret', () => {
  const secret = (rest: object) =>
    parseConfigObject('Secret', { apiVersion: 'v1', kind: 'Secret', metadata: { name: 's' }, ...rest });

  it('is decoded, and stringData goes over data', () => {
    expect(
      secret({ type: 'Opaque', data: { a: encode('één'), b: encode('old') }, stringData: { b: 'new' } }),
    ).toMatchObject({ ok: true, object: { data: { a: 'één', b: 'new' }, binaryKeys: [] } });
  });

  it('takes base64 that is wrapped over several lines', () => {
    expect(secret({ data: { a: 'YWJj\nZGVm\n' } })).toMatchObject({ object: { data: { a: 'abcdef' } } });
  });

  it('names keys whose bytes are not text, and keeps them out of the data', () => {
    expect(secret({ data: { a: encode([0xff, 0xfe]) } })).toMatchObject({
      ok: true,
      object: { data: {}, binaryKeys: ['a'] },
    });
  });

  it.each(['plain text!', 'YWJ', 'YW=J'])('refuses %j as base64 and says where plain text goes', (a) => {
    expect(secret({ data: { a } })).toMatchObject({
      ok: false,
      problems: [{ path: 'data.a', message: 'expected base64; plain text goes under stringData' }],
    });
  });
});

it('a ConfigMap refuses binary data by name', () => {
  const value = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'c' }, binaryData: { a: 'YQ==' } };
  expect(parseConfigObject('ConfigMap', value)).toMatchObject({
    ok: false,
    problems: [{ path: 'binaryData', message: 'not supported yet: binaryData; leave it out' }],
  });
});

it('server-set metadata is let through and left out', () => {
  const metadata = { name: 'sa', uid: 'u', managedFields: [], labels: { a: 'b' } };
  expect(
    parseConfigObject('ServiceAccount', {
      apiVersion: 'v1',
      kind: 'ServiceAccount',
      metadata,
      secrets: [{ name: 's' }],
    }),
  ).toEqual({
    ok: true,
    object: {
      kind: 'ServiceAccount',
      metadata: { name: 'sa', namespace: 'default', annotations: {} },
      secrets: [{ name: 's' }],
    },
  });
});
