import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { containerManifest, modelManifest } from './testing/manifests.ts';
import { LONG_REQUEST, ModelFolder, markedModelBytes, markIn, zeros } from './testing/marked-model.ts';
import { ModelStore } from './testing/model-store.ts';
import { TestPlatform } from './testing/platform.ts';
import { processesMarked } from './testing/processes.ts';
import { waitFor } from './testing/wait-for.ts';

const MAIN = join(import.meta.dirname, '../../cli/main.ts');
const SIGNALS = ['SIGTERM', 'SIGINT'] as const;
const models = new ModelFolder();
let store: ModelStore;

beforeAll(async () => {
  store = await ModelStore.open();
  for (const signal of SIGNALS) store.set(`${signal}.onnx`, { kind: 'held', bytes: markedModelBytes(5) });
});

afterAll(async () => {
  await store.close();
  models.remove();
});

/** @param signal names the model that is never sent to its end, so that each has its own. */
function startPlatform(signal: string): Promise<TestPlatform> {
  const single = { scaling: { initialScale: 0 }, predictor: { maxReplicas: 1 } };
  return TestPlatform.start({
    standbys: 1,
    manifests: {
      'model.json': modelManifest('model', models.write(1), single),
      'held.json': modelManifest('held', store.url(`${signal}.onnx`), single),
      'server.json': containerManifest('server', single),
    },
  });
}

/** Sends the signal and expects that all processes end in time, by themselves and with exit code 0. */
async function expectEnd(platform: TestPlatform, signal: NodeJS.Signals): Promise<void> {
  const beganMs = performance.now();
  await platform.end(signal, 5_000);
  expect(performance.now() - beganMs).toBeLessThan(5_000);
  expect(platform.process.exitCode).toBe(0);
  expect(platform.log.filter((line) => line.includes('not stopped within the limit'))).toEqual([]);
  await platform.stop();
}

// One platform after the other, and no other tests beside them: 5 s are meant for one platform.
describe.each(SIGNALS)('%s', (signal) => {
  it('while it starts ends everything, however far it is', async () => {
    for (const programs of [1, 2, 3]) {
      const dir = mkdtempSync(join(tmpdir(), 'pilotlight-'));
      const mark = crypto.randomUUID();
      const flags = ['--port', '0', '--api-port', '0', '--cache-dir', join(dir, 'cache')];
      const serve = spawn(process.execPath, [MAIN, 'serve', dir, ...flags], {
        stdio: 'ignore',
        env: { ...process.env, PILOTLIGHT_TEST_PLATFORM: mark },
      });
      const living = () => processesMarked('PILOTLIGHT_TEST_PLATFORM', mark);
      await waitFor(`${programs} processes`, () => living().length >= programs);
      const exited = once(serve, 'exit');
      serve.kill(signal);
      await exited;
      await waitFor(
        'no process is left',
        () => {
          const left = living().map(({ command }) => command);
          if (left.length > 0) throw new Error(`there is still ${left.join(' and ')}`);
          return true;
        },
        5_000,
      );
      rmSync(dir, { recursive: true, force: true });
    }
  });
});

describe.each(SIGNALS)('%s', (signal) => {
  it('while it is idle, with a model and a container warm, ends everything', async () => {
    const platform = await startPlatform(signal);
    expect((await platform.infer('model', zeros())).status).toBe(200);
    expect((await fetch(`${platform.url}/default/server/pid`)).status).toBe(200);
    await expectEnd(platform, signal);
  });

  it('during a cold start ends everything, and whoever waits is told', async () => {
    const platform = await startPlatform(signal);
    const waiting = platform.infer('held', zeros()).then(
      ({ status }) => status,
      () => 'hung up' as const,
    );
    await waitFor('the model is being fetched', () => store.waiting(`${signal}.onnx`) > 0);
    await expectEnd(platform, signal);
    expect([503, 504, 'hung up']).toContain(await waiting);
  });

  it('with requests in flight answers those that are short', async () => {
    const platform = await startPlatform(signal);
    expect((await platform.infer('model', zeros())).status).toBe(200);
    expect((await fetch(`${platform.url}/default/server/pid`)).status).toBe(200);
    const inference = platform.infer('model', LONG_REQUEST);
    const served = fetch(`${platform.url}/default/server/wait/1000`);
    for (const name of ['model', 'server'])
      await platform.waitForService(name, 'has a request in flight', ({ inFlight }) => inFlight > 0);
    const ended = expectEnd(platform, signal);
    const answer = await inference;
    expect(answer.status).toBe(200);
    expect(markIn(await answer.text())).toBe(1);
    expect(await (await served).text()).toBe('waited');
    await ended;
  });

  it('while a replica leaves ends everything', async () => {
    const platform = await startPlatform(signal);
    expect((await fetch(`${platform.url}/default/server/pid`)).status).toBe(200);
    expect((await platform.infer('model', zeros())).status).toBe(200);
    // A request in flight keeps the replica draining when its service is stopped.
    const served = fetch(`${platform.url}/default/server/wait/60000`).catch(() => 'hung up');
    await platform.waitForService('server', 'has a request in flight', ({ inFlight }) => inFlight > 0);
    platform.remove('server.json');
    platform.remove('model.json');
    await waitFor('the server drains', async () =>
      (await platform.replicas()).some(({ id, state }) => id.startsWith('container') && state === 'draining'),
    );
    await expectEnd(platform, signal);
    await served;
  });
});
