import { afterAll, beforeAll, expect, test } from 'vitest';
import type { z } from 'zod';
import * as protocol from '../../contracts/inference-protocol.ts';
import { PlainEngine, readyWith, sumModel } from '../server/plain-engine.ts';
import { resolveRoute } from '../server/router.ts';
import type { RuntimeServer } from '../server/server.ts';
import { call, openTestServer, sumBody } from '../server/test-client.ts';

let engine: PlainEngine;
let server: RuntimeServer;
beforeAll(async () => {
  engine = readyWith(sumModel());
  server = await openTestServer({ engine });
});
afterAll(() => server.stop());

interface Document {
  openapi: string;
  paths: Record<string, Record<string, { responses: Record<string, { content?: object }> }>>;
  components: { schemas: Record<string, object> };
}

async function served(): Promise<Document> {
  const answer = await call(server.port, '/openapi.json');
  expect([answer.status, answer.headers['content-type']]).toEqual([200, 'application/json']);
  return answer.json() as unknown as Document;
}

test('the document is served, and every reference in it leads somewhere', async () => {
  const document = await served();
  expect(document.openapi).toBe('3.1.0');
  const references = [...JSON.stringify(document).matchAll(/"\$ref":"#\/([^"]+)"/g)].map(
    ([, path]) => path ?? '',
  );
  expect(references.length).toBeGreaterThan(50);
  for (const path of references) {
    const found = path
      .split('/')
      .reduce<unknown>((at, key) => (at as Record<string, unknown> | undefined)?.[key], document);
    expect(found, path).toBeTypeOf('object');
  }
});

test('every path of the document is one that is served, by its methods and no other', async () => {
  const { paths } = await served();
  for (const [path, operations] of Object.entries(paths)) {
    const target = path.replace('{model}', 'sum').replace('{version}', '3');
    for (const method of ['get', 'post', 'put', 'delete']) {
      const { kind } = resolveRoute(method.toUpperCase(), target);
      expect([path, method, kind !== 'method-not-allowed']).toEqual([path, method, method in operations]);
      expect(kind).not.toBe('not-found');
    }
  }
});

const READINGS: readonly [path: string, schema: z.ZodType][] = [
  ['/v2', protocol.serverMetadataSchema],
  ['/v2/health/live', protocol.readinessSchema],
  ['/v2/health/ready', protocol.readinessSchema],
  ['/v2/models', protocol.modelListSchema],
  ['/v2/models/stats', protocol.modelStatisticsSchema],
  ['/v2/models/sum', protocol.modelMetadataSchema],
  ['/v2/models/sum/versions/3/ready', protocol.readinessSchema],
  ['/v2/models/sum/config', protocol.modelConfigSchema],
  ['/v2/models/sum/stats', protocol.modelStatisticsSchema],
  ['/v1/models', protocol.modelListSchema],
  ['/v1/models/sum', protocol.readinessSchema],
  ['/v2/models/other', protocol.errorBodySchema],
];

test.each(READINGS)('what %s answers is what its schema says', async (path, schema) => {
  const answer = await call(server.port, path);
  expect(schema.safeParse(answer.json()).error).toBeUndefined();
});

test('inferences are asked and answered as their schemas say', async () => {
  const body = sumBody([1, 2], [3, 4], { id: 'x', parameters: { n: 1, text: 't', flag: true } });
  expect(protocol.inferRequestSchema.safeParse(JSON.parse(body)).error).toBeUndefined();
  const answer = await call(server.port, '/v2/models/sum/infer', { body });
  expect(answer.status).toBe(200);
  expect(protocol.inferResponseSchema.safeParse(answer.json()).error).toBeUndefined();
  const predict = '{"instances":[{"a":[1],"b":[2]}]}';
  expect(protocol.predictRequestSchema.safeParse(JSON.parse(predict)).error).toBeUndefined();
  const predicted = await call(server.port, '/v1/models/sum:predict', { body: predict });
  expect(protocol.predictResponseSchema.safeParse(predicted.json()).error).toBeUndefined();
});

test('the index of the repository says what is here, and only what is ready when asked so', async () => {
  const index = async (body: string): Promise<[number, unknown]> => {
    const answer = await call(server.port, '/v2/repository/index', { body });
    return [answer.status, JSON.parse(answer.body.toString())];
  };
  const [, all] = await index('');
  expect(protocol.repositoryIndexSchema.parse(all)).toMatchObject([{ name: 'sum', state: 'READY' }]);
  const { current } = engine;
  engine.current = { phase: 'specialising', modelName: 'sum', claim: undefined };
  expect(await index('{}')).toMatchObject([200, [{ name: 'sum', state: 'UNAVAILABLE' }]]);
  expect(await index('{"ready":true}')).toEqual([200, []]);
  expect(await index('{"ready":1}')).toEqual([400, { error: '"ready" must be true or false, got 1' }]);
  expect((await index(`{"x":"${'x'.repeat(5000)}"}`))[0]).toBe(413);
  engine.current = current;
});
