import { once } from 'node:events';
import { createConnection, type Socket } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { call } from './testing/http-call.ts';
import { modelManifest } from './testing/manifests.ts';
import { ModelFolder, markedModelBytes, markIn, zeros } from './testing/marked-model.ts';
import { ModelStore } from './testing/model-store.ts';
import { TestPlatform } from './testing/platform.ts';
import { startTraffic } from './testing/traffic.ts';
import { waitFor } from './testing/wait-for.ts';

const models = new ModelFolder();
let store: ModelStore;
let platform: TestPlatform;

beforeAll(async () => {
  store = await ModelStore.open();
  for (const name of ['left', 'full', 'late'])
    store.set(`${name}.onnx`, { kind: 'held', bytes: markedModelBytes(5) });
  const held = (name: string, scaling: Record<string, unknown>): string =>
    modelManifest(name, store.url(`${name}.onnx`), {
      scaling: { initialScale: 0, ...scaling },
      predictor: { maxReplicas: 1 },
    });
  platform = await TestPlatform.start({
    standbys: 4,
    manifests: {
      'warm.json': modelManifest('warm', models.write(1), { predictor: { maxReplicas: 1 } }),
      'dripped.json': modelManifest('dripped', models.write(2), { predictor: { maxReplicas: 1 } }),
      'left.json': held('left', { queue: { maxRequests: 1 } }),
      'full.json': held('full', { queue: { maxRequests: 2 } }),
      'late.json': held('late', { startTimeout: '2s' }),
    },
  });
  for (const name of ['warm', 'dripped'])
    await platform.waitForService(name, 'is ready', ({ state }) => state === 'Ready');
});

afterAll(async () => {
  await platform.stop();
  await store.close();
  models.remove();
});

async function connected(): Promise<Socket> {
  const socket = createConnection({ host: '127.0.0.1', port: Number(new URL(platform.url).port) });
  socket.on('error', () => undefined);
  await once(socket, 'connect');
  return socket;
}

const serveWarm = () =>
  startTraffic(
    2,
    () => platform.infer('warm', zeros()),
    (text) => String(markIn(text)),
  );

const queued = (name: string, count: number) =>
  platform.waitForService(name, `has ${count} in its queue`, (service) => service.queued === count);

describe.concurrent('clients that behave badly', () => {
  it('a thousand that connect and say nothing keep nobody from being served', async () => {
    const silent = await Promise.all(Array.from({ length: 1_000 }, connected));
    const traffic = serveWarm();
    await waitFor('others are served', () => traffic.answers > 200);
    const { failures } = await traffic.stop();
    expect(failures).toEqual([]);
    expect(silent.filter(({ destroyed }) => !destroyed).length).toBeGreaterThan(900);
    // The activator closes them by itself after ten seconds without a byte.
    await waitFor('they are hung up on', () =>
      silent.every((socket) => socket.destroyed || socket.readableEnded),
    );
    for (const socket of silent) socket.destroy();
  });

  it('one that sends a byte a second is cut off, and holds up nobody meanwhile', async () => {
    const slow = await connected();
    const chunks: Buffer[] = [];
    slow.on('data', (chunk: Buffer) => chunks.push(chunk));
    const closed = once(slow, 'close');
    slow.write(
      'POST /v2/models/dripped/infer HTTP/1.1\r\nhost: dripped.default\r\ncontent-type: application/json\r\n' +
        'content-length: 5000\r\n\r\n',
    );
    const dripping = setInterval(() => slow.write(' '), 1_000);
    const traffic = serveWarm();
    await waitFor('others are served', () => traffic.answers > 200);
    const { failures } = await traffic.stop();
    expect(failures).toEqual([]);
    // Not even the only place of its own replica is kept by it.
    const next = await platform.infer('dripped', zeros());
    expect(next.status).toBe(200);
    await closed;
    clearInterval(dripping);
    expect(Buffer.concat(chunks).toString()).toMatch(/^HTTP\/1\.1 408 [^]*body-timeout/);
  }, 30_000);

  it('one that leaves the queue makes room in it', async () => {
    const leaving = new AbortController();
    const first = call(platform.url, '/v2/models/left/infer', { body: zeros(), signal: leaving.signal });
    const gone = first.catch((error: unknown) => error);
    await queued('left', 1);
    const turnedAway = await platform.infer('left', zeros());
    expect(turnedAway.status).toBe(503);
    leaving.abort();
    expect(await gone).toBeInstanceOf(Error);
    await queued('left', 0);
    const second = platform.infer('left', zeros());
    await queued('left', 1);
    store.release('left.onnx');
    const answer = await second;
    expect(answer.status).toBe(200);
    expect(markIn(await answer.text())).toBe(5);
  });

  it('more than the queue takes: 503 and when to come again; those in it are served', async () => {
    const waiting = [platform.infer('full', zeros()), platform.infer('full', zeros())];
    await queued('full', 2);
    const refused = await platform.infer('full', zeros());
    expect(refused.status).toBe(503);
    expect(refused.headers.get('pilotlight-error')).toBe('queue-full');
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0);
    expect(await refused.text()).toContain('2 requests');
    store.release('full.onnx');
    const answers = await Promise.all(waiting);
    expect(answers.map(({ status }) => status)).toEqual([200, 200]);
  });

  it('one that waits past the start timeout: 504 with the phase that the start hung in', async () => {
    // Its place in the queue is younger than the start that it waits for, so its own time ends last of all.
    const answer = await platform.infer('late', zeros());
    const text = await answer.text();
    expect(answer.status, text).toBe(504);
    expect(answer.headers.get('pilotlight-error')).toBe('start-timeout');
    expect(text).toContain('fetching the model');
    store.release('late.onnx');
  });
});
