import { beforeAll, expect, test } from 'vitest';
import { HEADERS } from '../../../contracts/headers.ts';
import type { ClientAnswer } from '../client/messages.ts';
import { condition, isReady, onPlatform, type ServiceObject, text } from './testing/platform.ts';
import { containerService, type ServiceOptions } from './testing/services.ts';

/** Containers of a user's own: any server that speaks HTTP, without a standby. */
const on = onPlatform('containers');

const PORT = 9_000;
let image = '';

beforeAll(async () => {
  image = await on.client.image();
});

/** A service of `client/server.ts`, which listens on a port that isn't the default one. */
function serverService(
  name: string,
  mode: 'http' | 'grpc' | 'deaf' | 'broken',
  container: object = {},
  options: ServiceOptions = {},
): object {
  const server = {
    image,
    command: ['/usr/local/bin/node', '/client/server.ts'],
    args: [mode],
    ports: [{ containerPort: PORT }],
    resources: { requests: { cpu: '10m', memory: '48Mi' } },
    ...container,
  };
  return containerService(name, server, options);
}

function good(answer: ClientAnswer): string {
  expect(answer.status, `${answer.error ?? ''}${text(answer)}`).toBe(200);
  return text(answer);
}

/** What an answer of the platform's own says. */
const refusal = (answer: ClientAnswer): { status: number; code: string | undefined; error: string } => ({
  status: answer.status,
  code: answer.headers[HEADERS.error],
  error: (JSON.parse(text(answer)) as { error: string }).error,
});

const base64 = (bytes: string | Buffer): string => Buffer.from(bytes).toString('base64');

test('a container starts for its first request, goes to zero, and starts again', async () => {
  await on.apply(serverService('plain', 'http'));
  const service = await on.waitForReady('plain');
  expect(await on.pods('plain')).toEqual([]);
  expect(condition(service, 'StandbyFit')).toMatchObject({
    status: 'False',
    reason: 'FieldsDiffer',
    message: expect.stringContaining('spec.predictor.containers'),
  });
  const pods = new Set<string>();
  for (let start = 1; start <= 2; start += 1) {
    const pod = good(await on.call('plain', '/wait/0'));
    expect(pods.has(pod)).toBe(false);
    pods.add(pod);
    expect((await on.pods('plain')).map(({ metadata }) => metadata?.name)).toEqual([pod]);
    expect(good(await on.call('plain', '/echo', { bodyBase64: base64('as it came') }))).toBe('as it came');
    await on.waitForZero('plain');
  }
});

test('HTTP/2, gRPC and WebSocket come through the activator', async () => {
  await on.apply(serverService('talker', 'http'), serverService('caller', 'grpc'));
  await on.waitForReady('talker');
  await on.waitForReady('caller');
  // The first one of each starts its container.
  expect(
    await on.client.talk({ url: on.url('talker', '/chat').replace('http:', 'ws:'), texts: ['one', 'two'] }),
  ).toEqual(['one', 'two']);
  const overHttp2 = { url: on.url('talker', '/echo'), method: 'POST', bodyBase64: base64('framed') };
  expect(good(await on.client.callHttp2(overHttp2))).toBe('framed');
  // gRPC, transport: a byte for the compression, four for the length, the message.
  const message = Buffer.concat([Buffer.from([0, 0, 0, 0, 5]), Buffer.from('hello')]);
  const headers = { 'content-type': 'application/grpc', te: 'trailers' };
  const call = { url: on.url('caller', '/test.Echo/Say'), headers, bodyBase64: base64(message) };
  const said = await on.client.callHttp2(call);
  expect(good(said)).toBe(message.toString());
  expect(said.headers['grpc-status']).toBe('0');
});

test('its environment comes from ConfigMaps and Secrets, and its port is in $PORT', async () => {
  const meta = (name: string): object => ({ apiVersion: 'v1', metadata: { name } });
  await on.apply(
    { ...meta('colours'), kind: 'ConfigMap', data: { SKY: 'blue' } },
    { ...meta('keys'), kind: 'Secret', stringData: { password: 'open sesame' } },
    serverService('configured', 'http', {
      envFrom: [{ configMapRef: { name: 'colours' } }],
      env: [
        { name: 'KEY', valueFrom: { secretKeyRef: { name: 'keys', key: 'password' } } },
        { name: 'PHRASE', value: '$(KEY) of $(SKY)' },
      ],
    }),
  );
  await on.waitForReady('configured');
  const variables = { SKY: 'blue', KEY: 'open sesame', PHRASE: 'open sesame of blue', PORT: String(PORT) };
  for (const [name, value] of Object.entries(variables))
    expect(good(await on.call('configured', `/env/${name}`))).toBe(value);
});

test('load brings a second pod, its end brings both away, and no request is lost', async () => {
  const scaling = { stableWindow: '6s', scaleToZeroGracePeriod: '1s', initialScale: 0 };
  const predictor = { containerConcurrency: 2, maxReplicas: 2 };
  await on.apply(serverService('busy', 'http', {}, { scaling, predictor }));
  await on.waitForReady('busy');
  const load = await on.load({ targets: [{ url: on.url('busy', '/wait/100') }], connections: 8 });
  const both = await on.until('both pods have answered', async () => {
    const { bodies } = await load.state();
    const names = Object.keys(bodies[0] ?? {});
    return names.length === 2 && names;
  });
  const pods = await on.pods('busy');
  expect(new Set(pods.map(({ metadata }) => metadata?.name))).toEqual(new Set(both));
  const result = await load.end();
  expect(result.failures).toEqual([]);
  await on.waitForZero('busy');
  await on.waitForService('busy', 'says so', ({ status }) => status?.replicas?.ready === 0);
});

test('no request reaches a container before its readiness probe has succeeded', async () => {
  const readyAfterMs = 4_000;
  const readinessProbe = { httpGet: { path: '/ready', port: PORT }, periodSeconds: 1 };
  const env = [{ name: 'READY_AFTER_MS', value: String(readyAfterMs) }];
  await on.apply(serverService('slow', 'http', { readinessProbe, env }));
  await on.waitForReady('slow');
  expect(Number(good(await on.call('slow', '/up')))).toBeGreaterThan(readyAfterMs);
});

/** The service has given its revision up. */
const hasFailed = (service: ServiceObject): boolean =>
  service.status?.modelStatus?.transitionStatus === 'BlockedByFailedLoad' &&
  condition(service, 'Ready').status === 'False';

test('a container that never listens: the request is told where it hung, the status why', async () => {
  await on.apply(serverService('deaf', 'deaf', {}, { scaling: { startTimeout: '3s', initialScale: 0 } }));
  await on.waitForReady('deaf');
  const first = refusal(await on.call('deaf', '/'));
  expect(first).toMatchObject({ status: 504, code: 'start-timeout' });
  expect(first.error).toMatch(/within 3000 ms; it hung in phase "starting a replica/);
  // Asked for again and again it is given up.
  const load = await on.load({ targets: [{ url: on.url('deaf', '/') }], connections: 1 });
  const service = await on.waitForService('deaf', 'has failed', hasFailed);
  expect(condition(service, 'Ready')).toMatchObject({
    reason: 'StartupProbeFailed',
    message: expect.stringContaining(
      'container "container" was not ready within its start timeout: its startup probe did not succeed',
    ),
  });
  const result = await load.end();
  expect(result.answered).toBe(0);
  const statuses = new Set(result.failures.map(({ status }) => status));
  expect([...statuses].every((status) => status === 503 || status === 504)).toBe(true);
});

test('a container that ends at once: callers and the status are told in Kubernetes’ words', async () => {
  await on.apply(serverService('broken', 'broken', { terminationMessagePolicy: 'FallbackToLogsOnError' }));
  await on.waitForReady('broken');
  const answer = refusal(await on.call('broken', '/'));
  expect(answer).toMatchObject({ status: 503, code: 'load-failed' });
  const words = 'container "container" ended with exit code 3: no licence found';
  expect(answer.error).toContain(words);
  const service = await on.waitForService('broken', 'has failed', hasFailed);
  expect(condition(service, 'Ready')).toMatchObject({
    reason: 'Error',
    message: expect.stringContaining(`Error: ${words}`),
  });
  expect(service.status?.modelStatus?.lastFailureInfo?.message).toContain(words);
  await on.waitForEvent('broken', 'LoadFailed');
  // Nothing is left of the tries, and a manifest that is mended serves.
  await on.waitForZero('broken');
  await on.apply(serverService('broken', 'http'));
  await on.waitForService('broken', 'is ready again', isReady);
  good(await on.call('broken', '/wait/0'));
});
