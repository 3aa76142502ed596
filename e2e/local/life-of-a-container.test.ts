import { once } from 'node:events';
import { connect as connectHttp2 } from 'node:http2';
import { Client, credentials, Metadata } from '@grpc/grpc-js';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { WebSocket } from 'ws';
import { call } from './testing/http-call.ts';
import { configMap, containerManifest, documents, secret } from './testing/manifests.ts';
import { TestPlatform } from './testing/platform.ts';
import { waitFor } from './testing/wait-for.ts';

const AT_ZERO = { scaling: { initialScale: 0 }, predictor: { maxReplicas: 1 } };
let platform: TestPlatform;

beforeAll(async () => {
  platform = await TestPlatform.start({
    standbys: 0,
    manifests: {
      'plain.json': containerManifest('plain', AT_ZERO),
      'grpc.json': containerManifest('talker', { ...AT_ZERO, args: ['grpc'] }),
      'settings.yaml': documents(
        configMap('colours', { SKY: 'blue' }),
        secret('keys', { password: 'open sesame' }),
        containerManifest('configured', {
          ...AT_ZERO,
          envFrom: [{ configMapRef: { name: 'colours' } }],
          env: [
            { name: 'KEY', valueFrom: { secretKeyRef: { name: 'keys', key: 'password' } } },
            { name: 'PHRASE', value: '$(KEY) of $(SKY)' },
          ],
        }),
      ),
      'image.json': withoutCommand(),
      'deaf.json': containerManifest('deaf', {
        ...AT_ZERO,
        args: ['deaf'],
        scaling: { initialScale: 0, startTimeout: '1s' },
      }),
    },
  });
});

afterAll(async () => {
  const pids = platform.processes().map(({ pid }) => pid);
  expect(pids.length).toBeGreaterThan(2);
  // Checks that no process is left, those of the containers among them.
  await platform.stop();
});

function withoutCommand(): string {
  return JSON.stringify({
    apiVersion: 'serving.pilotlight.dev/v1alpha1',
    kind: 'InferenceService',
    metadata: { name: 'image' },
    spec: { predictor: { scaling: { initialScale: 0 }, containers: [{ image: 'somebody/server' }] } },
  });
}

const at = (host: string, path: string, body?: unknown) =>
  call(platform.url, path, { host: `${host}.default`, ...(body !== undefined && { body }) });

describe.concurrent('a container of the user’s own', () => {
  it('starts for its first request, goes to zero, and starts again as a new process', async () => {
    const first = await at('plain', '/pid');
    expect(first).toMatchObject({ status: 200 });
    const pid = Number(first.text);
    expect(platform.processes().map((one) => one.pid)).toContain(pid);
    const echoed = await at('plain', '/echo', { hello: 'there' });
    expect(JSON.parse(echoed.text)).toEqual({ hello: 'there' });
    const [start] = (await platform.coldStarts()).filter(({ service }) => service === 'plain');
    expect(start).toMatchObject({ via: 'new', demanded: true });
    expect(Object.keys(start?.phasesMs ?? {})).toEqual(
      expect.arrayContaining(['decided', 'scheduled', 'started', 'routed']),
    );

    await platform.waitForZero('plain');
    await waitFor('its process is gone', () => !platform.processes().some((one) => one.pid === pid));
    expect(await platform.service('plain')).toMatchObject({ state: 'Standby', ready: true });

    const second = await at('plain', '/pid');
    expect(second.status).toBe(200);
    expect(Number(second.text)).not.toBe(pid);
  });

  it('gets its environment from ConfigMaps and Secrets, and none of the platform’s secrets', async () => {
    expect((await at('configured', '/env/SKY')).text).toBe('blue');
    expect((await at('configured', '/env/KEY')).text).toBe('open sesame');
    expect((await at('configured', '/env/PHRASE')).text).toBe('open sesame of blue');
    // What the platform itself holds in its environment is nobody else's business.
    expect((await at('configured', '/env/PILOTLIGHT_ACTIVATOR_TOKEN')).text).toBe('');
    expect((await at('configured', '/env/PILOTLIGHT_ADMIN_TOKEN')).text).toBe('');
  });

  it('speaks HTTP/2 and WebSocket through the platform', async () => {
    const session = connectHttp2(platform.url);
    const stream = session.request({ ':path': '/version', ':authority': 'plain.default' });
    const chunks: Buffer[] = [];
    stream.on('data', (chunk: Buffer) => chunks.push(chunk));
    await once(stream, 'end');
    session.close();
    expect(Buffer.concat(chunks).toString()).toMatch(/^(1\.1|2\.0)$/);

    const socket = new WebSocket(`${platform.url.replace('http:', 'ws:')}/chat`, {
      headers: { host: 'plain.default' },
    });
    await once(socket, 'open');
    for (const text of ['one', 'two']) {
      socket.send(text);
      const [data] = (await once(socket, 'message')) as [Buffer];
      expect(data.toString()).toBe(text);
    }
    socket.close();
    await once(socket, 'close');
  });

  it('speaks gRPC through the platform, calls and streams', async () => {
    const client = new Client(new URL(platform.url).host, credentials.createInsecure(), {
      'grpc.default_authority': 'talker.default',
    });
    const same = (value: Buffer): Buffer => value;
    const said = await new Promise<Buffer | undefined>((resolve, reject) => {
      client.makeUnaryRequest('/test.Echo/Say', same, same, Buffer.from('hello'), (error, value) => {
        if (error) reject(error);
        else resolve(value);
      });
    });
    expect(said?.toString()).toBe('hello');
    const talk = client.makeBidiStreamRequest('/test.Echo/Talk', same, same, new Metadata());
    for (const word of ['ask', 'and', 'answer']) {
      talk.write(Buffer.from(word));
      const [back] = (await once(talk, 'data')) as [Buffer];
      expect(back.toString()).toBe(word);
    }
    const ended = once(talk, 'status');
    talk.end();
    talk.resume();
    expect(await ended).toMatchObject([{ code: 0 }]);
    client.close();
  });

  it('without a command is refused with a word about images', async () => {
    const answer = await at('image', '/');
    expect(answer.status).toBe(503);
    expect(answer.text).toContain('runs processes, not images');
    const service = await platform.waitForService('image', 'has failed', ({ state }) => state === 'Failed');
    expect(service.message).toContain('containers[0].command');
  });

  it('that never listens is given up at its start timeout', async () => {
    const answer = await at('deaf', '/');
    expect([503, 504]).toContain(answer.status);
    expect(answer.text).toMatch(/start|listen/);
    const start = await waitFor('the start has failed', async () =>
      (await platform.coldStarts()).find(
        ({ service, outcome }) => service === 'deaf' && outcome === 'failed',
      ),
    );
    expect(start.error).toContain('replica');
  });
});
