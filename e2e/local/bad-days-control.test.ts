import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { modelManifest } from './testing/manifests.ts';
import { ModelFolder, markedModelBytes, markIn, zeros } from './testing/marked-model.ts';
import { ModelStore } from './testing/model-store.ts';
import { TestPlatform } from './testing/platform.ts';
import { startTraffic } from './testing/traffic.ts';
import { waitFor } from './testing/wait-for.ts';

const ONE = { predictor: { maxReplicas: 1 } };
const AT_ZERO = { ...ONE, scaling: { initialScale: 0 } };
const models = new ModelFolder();
let store: ModelStore;
let platform: TestPlatform;

beforeAll(async () => {
  store = await ModelStore.open();
  store.set('held.onnx', { kind: 'held', bytes: markedModelBytes(5) });
  platform = await TestPlatform.start({
    standbys: 2,
    manifests: {
      'warm.json': modelManifest('warm', models.write(1), ONE),
      'steady.json': modelManifest('steady', models.write(2), ONE),
      'held.json': modelManifest('held', store.url('held.onnx'), AT_ZERO),
    },
  });
  for (const name of ['warm', 'steady'])
    await platform.waitForService(name, 'is ready', ({ state }) => state === 'Ready');
  await platform.waitForStandbys(1);
});

afterAll(async () => {
  await platform.stop();
  await store.close();
  models.remove();
});

const send = (name: string) => () => platform.infer(name, zeros());
const read = (text: string): string => String(markIn(text));

async function killProgram(name: 'controller' | 'activator'): Promise<void> {
  const before = platform.program(name);
  process.kill(before.pid, 'SIGKILL');
  await waitFor(`the ${name} is another process`, () => platform.program(name).pid !== before.pid);
}

describe('programs that are killed', () => {
  it('the activator: it comes back on its port, and no caller hears anything wrong', async () => {
    const before = platform.program('activator');
    const said = new Set<number>();
    process.kill(before.pid, 'SIGKILL');
    const answer = await waitFor('a request is answered', async () => {
      const response = await platform.infer('warm', zeros());
      said.add(response.status);
      return response.status === 200 && response;
    });
    expect(markIn(await answer.text())).toBe(1);
    // Refused connections while nobody listens, but no 404 or 5xx by one that doesn't know its routes yet.
    expect([...said]).toEqual([200]);
    expect(platform.program('activator').pid).not.toBe(before.pid);
    const traffic = startTraffic(2, send('warm'), read);
    await waitFor('traffic flows', () => traffic.answers > 50);
    expect((await traffic.stop()).failures).toEqual([]);
  });

  it('the controller in the middle of a cold start: what waits is answered, what is warm never notices', async () => {
    const traffic = startTraffic(2, send('warm'), read);
    const waiting = platform.infer('held', zeros());
    await waitFor('the model is being fetched', () => store.waiting('held.onnx') > 0);
    const runtimes = platform.runtimes().map(({ pid }) => pid);
    const served = (await platform.replicas())
      .filter(({ service }) => service !== undefined)
      .map(({ pid }) => pid);
    expect(served).toHaveLength(3);
    await killProgram('controller');
    await platform.waitForService('warm', 'is known to the new controller', ({ state }) => state === 'Ready');
    store.release('held.onnx');
    const answer = await waiting;
    const text = await answer.text();
    expect(answer.status, text).toBe(200);
    expect(markIn(text)).toBe(5);
    const seen = traffic.answers;
    await waitFor('traffic goes on', () => traffic.answers > seen + 50);
    const { failures } = await traffic.stop();
    expect(failures).toEqual([]);
    // The same processes serve on, and none runs that the new controller does not know.
    const replicas = await waitFor('the pool is full again', async () => {
      const all = await platform.replicas();
      return all.every(({ state }) => state !== 'starting') && all;
    });
    expect(replicas.map(({ pid }) => pid)).toEqual(expect.arrayContaining(served));
    await waitFor('all runtimes are known', async () => {
      const known = (await platform.replicas()).map(({ pid }) => pid);
      return platform.runtimes().every(({ pid }) => known.includes(pid));
    });
    expect(
      runtimes.filter((pid) => platform.runtimes().some((one) => one.pid === pid)).length,
    ).toBeGreaterThan(2);
  });

  it('the controller, and no demand is lost while it is gone: a cold request waits for the next one', async () => {
    platform.write('later.json', modelManifest('later', models.write(6), AT_ZERO));
    await platform.waitForService('later', 'is known', ({ state }) => state === 'Standby');
    const before = platform.program('controller');
    process.kill(before.pid, 'SIGKILL');
    const answer = await platform.infer('later', zeros());
    const text = await answer.text();
    expect(answer.status, text).toBe(200);
    expect(markIn(text)).toBe(6);
    expect(platform.program('controller').pid).not.toBe(before.pid);
  });
});

describe('manifests that go wrong while their service runs', () => {
  it('a broken one: the old revision serves on, the status says why, and the mended one heals it', async () => {
    const good = modelManifest('steady', models.write(3), ONE);
    for (const [broken, says] of [
      [good.replace('"maxReplicas":1', '"maxReplicas":"many"'), 'spec.predictor.maxReplicas'],
      [good.slice(0, -20), 'steady.json'],
    ] as const) {
      platform.write('steady.json', broken);
      const service = await platform.waitForService(
        'steady',
        'is invalid',
        ({ state }) => state === 'Invalid',
      );
      expect(service.message).toContain(says);
      const { modelStatus } = service.status as { modelStatus?: { transitionStatus?: string } };
      expect(modelStatus?.transitionStatus).toBe('InvalidSpec');
      const answer = await platform.infer('steady', zeros());
      expect(markIn(await answer.text())).toBe(2);
      expect((await platform.revisions('steady')).map(({ number }) => number)).toEqual([1]);
      platform.write('steady.json', modelManifest('steady', `${models.path}/marked-2.onnx`, ONE));
      await platform.waitForService('steady', 'is well again', ({ state }) => state === 'Ready');
    }
    platform.write('steady.json', good);
    await expect
      .poll(async () => markIn(await (await platform.infer('steady', zeros())).text()), { timeout: 15_000 })
      .toBe(3);
    const service = await platform.waitForService('steady', 'is ready', ({ state }) => state === 'Ready');
    expect(service.message).toBeUndefined();
  });

  it('a revision that does not load: the one before serves on, and the status names the cause', async () => {
    platform.write('warm.json', modelManifest('warm', `${models.path}/nowhere.onnx`, ONE));
    const service = await platform.waitForService('warm', 'is degraded', ({ state }) => state === 'Degraded');
    expect(service.message).toContain('model-not-found');
    expect(service.message).toContain('warm-00001 goes on serving');
    expect(markIn(await (await platform.infer('warm', zeros())).text())).toBe(1);
    platform.write('warm.json', modelManifest('warm', `${models.path}/marked-1.onnx`, ONE));
    await platform.waitForService('warm', 'is well again', ({ state, ready }) => state === 'Ready' && ready);
  });
});
