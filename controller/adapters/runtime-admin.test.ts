import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { ADMIN_PATHS, type RuntimeState, type SpecialiseRequest } from '../../contracts/admin.ts';
import { HEADERS } from '../../contracts/headers.ts';
import { createSealingKeys, open, type SealingKeys } from '../../contracts/sealing.ts';
import { RuntimeAdmin } from './runtime-admin.ts';

const ORDER: SpecialiseRequest = {
  claimId: 'claim-1',
  epoch: 1,
  service: { namespace: 'team', name: 'ocr', uid: 'uid' },
  revision: 'ocr-00001',
  model: { name: 'ocr', uri: 's3://models/ocr', access: { s3: { secretAccessKey: 'very secret' } } },
  serving: { requestTimeoutMs: 1_000 },
  startTimeoutMs: 1_000,
  warmUp: 'run',
  stats: { url: 'http://controller', token: 'token' },
};

let server: Server;
let admin: RuntimeAdmin;
/** Of the process that answers now; undefined: of an earlier version. */
let keys: SealingKeys | undefined;
let bodies: string[];
let opened: string[];

async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  if (request.url === ADMIN_PATHS.state) {
    const state: RuntimeState = {
      incarnation: 'i',
      recycles: 0,
      highestEpoch: 0,
      state: 'standby',
      inFlight: 0,
      residentBytes: 1,
      cachedModels: [],
      ...(keys && { sealingKey: keys.publicKey }),
    };
    response.end(JSON.stringify(state));
    return;
  }
  const body = Buffer.concat(chunks).toString();
  bodies.push(body);
  const { claimId, model } = JSON.parse(body) as SpecialiseRequest;
  try {
    if (keys !== undefined) opened.push(open(model.sealedAccess ?? '', keys, claimId));
    response.end(`${JSON.stringify({ event: 'ready', elapsedMs: 1, capacity: 1 })}\n`);
  } catch (error) {
    response
      .writeHead(400, { [HEADERS.error]: 'invalid-request' })
      .end(JSON.stringify({ error: String(error) }));
  }
}

beforeEach(async () => {
  keys = createSealingKeys();
  bodies = [];
  opened = [];
  server = createServer((request, response) => void answer(request, response));
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve));
  admin = new RuntimeAdmin(
    { host: '127.0.0.1', port: (server.address() as AddressInfo).port },
    () => 'token',
  );
});

afterEach(async () => {
  admin.close();
  await new Promise((resolve) => server.close(resolve));
});

const take = () => admin.specialise(ORDER, () => undefined);

test('credentials go to a runtime sealed, and nobody reads them on the way', async () => {
  await take();
  expect(opened.map((text) => JSON.parse(text) as unknown)).toEqual([ORDER.model.access]);
  expect(bodies.join()).not.toContain('secret');
});

test('a process that took the place of the one that was asked gets them sealed for itself', async () => {
  await admin.state();
  keys = createSealingKeys();
  await take();
  expect(opened).toHaveLength(1);
  expect(bodies).toHaveLength(2);
});

test('a runtime without a key gets no credentials, and one that needs none is told as before', async () => {
  keys = undefined;
  await expect(take()).rejects.toMatchObject({ code: 'replica-failed' });
  expect(bodies).toEqual([]);
  const { access: _none, ...model } = ORDER.model;
  await admin.specialise({ ...ORDER, model }, () => undefined);
  expect(bodies).toHaveLength(1);
});
