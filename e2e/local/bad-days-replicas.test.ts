import { truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ReplicaView } from '../../contracts/console.ts';
import { unsupportedOperator } from '../models/onnx-models.ts';
import { encodeOnnx } from '../models/onnx-writer.ts';
import { modelManifest } from './testing/manifests.ts';
import { LONG_REQUEST, ModelFolder, markedModelBytes, markIn, zeros } from './testing/marked-model.ts';
import { ModelStore } from './testing/model-store.ts';
import { TestPlatform } from './testing/platform.ts';
import { waitFor } from './testing/wait-for.ts';

const AT_ZERO = { scaling: { initialScale: 0 }, predictor: { maxReplicas: 1 } };
const IMPATIENT = { ...AT_ZERO, scaling: { initialScale: 0, startTimeout: '4s' } };
const models = new ModelFolder();
let store: ModelStore;
let platform: TestPlatform;

/** Models that can't be loaded: where each lies, and what everybody is to be told. */
const BROKEN = [
  { name: 'truncated', code: 'model-not-onnx', says: /truncated|damaged|not.*ONNX/i },
  { name: 'nonsense', code: 'model-not-onnx', says: /ONNX/ },
  { name: 'missing', code: 'model-not-found', says: /missing\.onnx/ },
  { name: 'absent', code: 'model-not-found', says: /absent\.onnx/ },
  { name: 'forbidden', code: 'model-forbidden', says: /403|forbid|permission/i },
  { name: 'operator', code: 'model-unsupported-operator', says: /FlashSort/ },
] as const;

beforeAll(async () => {
  store = await ModelStore.open();
  const bytes = markedModelBytes(1);
  const file = (name: string): string => join(models.path, `${name}.onnx`);
  writeFileSync(file('truncated'), bytes);
  truncateSync(file('truncated'), bytes.length >> 1);
  writeFileSync(file('nonsense'), 'this is a text and no model, whatever its name says\n'.repeat(100));
  writeFileSync(file('operator'), encodeOnnx(unsupportedOperator()));
  store.set('forbidden.onnx', { kind: 'status', status: 403 });
  for (const name of ['loading', 'slow', 'late']) {
    store.set(`${name}.onnx`, { kind: 'held', bytes: markedModelBytes(5) });
  }
  const uris: Record<string, string> = {
    truncated: file('truncated'),
    nonsense: file('nonsense'),
    missing: file('missing'),
    absent: store.url('absent.onnx'),
    forbidden: store.url('forbidden.onnx'),
    operator: file('operator'),
  };
  const broken = Object.fromEntries(
    BROKEN.map(({ name }) => [`${name}.json`, modelManifest(name, uris[name] ?? '', AT_ZERO)]),
  );
  platform = await TestPlatform.start({
    standbys: 3,
    manifests: {
      ...broken,
      'idle.json': modelManifest('idle', models.write(2), AT_ZERO),
      'busy.json': modelManifest('busy', models.write(3), AT_ZERO),
      'loading.json': modelManifest('loading', store.url('loading.onnx'), AT_ZERO),
      'slow.json': modelManifest('slow', store.url('slow.onnx'), IMPATIENT),
      'spare.json': modelManifest('spare', models.write(4), AT_ZERO),
    },
  });
  await platform.waitForStandbys(3);
});

afterAll(async () => {
  await platform.stop();
  await store.close();
  models.remove();
});

/** Kills a replica as a machine out of memory would. */
function kill(replica: ReplicaView | undefined): void {
  if (replica?.pid === undefined) throw new Error('no replica to kill');
  process.kill(replica.pid, 'SIGKILL');
}

const replicaIn = (service: string, state: ReplicaView['state']): Promise<ReplicaView> =>
  waitFor(`a replica of ${service} is ${state}`, async () =>
    (await platform.replicas(service)).find((replica) => replica.state === state),
  );

async function markOf(answer: Response): Promise<number> {
  const text = await answer.text();
  expect(answer.status, text).toBe(200);
  return markIn(text);
}

describe.concurrent('a runtime that is killed', () => {
  it('while idle is replaced, and the next request is answered', async () => {
    expect(await markOf(await platform.infer('idle', zeros()))).toBe(2);
    const victim = await replicaIn('idle', 'ready');
    kill(victim);
    expect(await markOf(await platform.infer('idle', zeros()))).toBe(2);
    const next = await replicaIn('idle', 'ready');
    expect(next.pid).not.toBe(victim.pid);
  });

  it('while it answers costs the caller a retry and no error', async () => {
    expect(await markOf(await platform.infer('busy', zeros()))).toBe(3);
    const victim = await replicaIn('busy', 'ready');
    const answer = platform.infer('busy', LONG_REQUEST);
    await platform.waitForService('busy', 'has a request in flight', ({ inFlight }) => inFlight > 0);
    kill(victim);
    expect(await markOf(await answer)).toBe(3);
    const log = await waitFor('the crash is told', () =>
      platform.log.find((line) => line.includes('ReplicaCrashed') && line.includes('busy')),
    );
    expect(log).toContain('SIGKILL');
  });

  it('while it loads is replaced by another one, which answers the request that waits', async () => {
    const answer = platform.infer('loading', zeros());
    const victim = await replicaIn('loading', 'specialising');
    await waitFor('the model is being fetched', () => store.waiting('loading.onnx') > 0);
    kill(victim);
    store.release('loading.onnx');
    expect(await markOf(await answer)).toBe(5);
    expect((await replicaIn('loading', 'ready')).pid).not.toBe(victim.pid);
    const outcomes = (await platform.coldStarts())
      .filter(({ service }) => service === 'loading')
      .map(({ outcome }) => outcome);
    expect(outcomes).toContain('failed');
  });
});

describe.concurrent('a model that can’t be loaded', () => {
  it.each(BROKEN)(
    '$name: the caller, the status and the log name the cause',
    async ({ name, code, says }) => {
      const answer = await platform.infer(name, zeros());
      const text = await answer.text();
      expect(answer.status, text).toBe(503);
      expect(answer.headers.get('pilotlight-error')).toBe('load-failed');
      expect(text).toContain(code);
      expect(text).toMatch(says);
      const service = await platform.waitForService(name, 'has failed', ({ state }) => state === 'Failed');
      expect(service.ready).toBe(false);
      expect(service.message).toContain(code);
      expect(service.message).toMatch(says);
      const { modelStatus } = service.status as {
        modelStatus?: { transitionStatus?: string; lastFailureInfo?: { reason?: string; message?: string } };
      };
      expect(modelStatus?.transitionStatus).toBe('BlockedByFailedLoad');
      expect(modelStatus?.lastFailureInfo).toMatchObject({ reason: 'ModelLoadFailed' });
      expect(modelStatus?.lastFailureInfo?.message).toContain(code);
      const [start] = (await platform.coldStarts()).filter((one) => one.service === name);
      expect(start).toMatchObject({ outcome: 'failed' });
      expect(start?.error).toContain(code);
      expect(platform.log.some((line) => line.includes('LoadFailed') && line.includes(code))).toBe(true);
      // A mended manifest heals it at once, whatever the back-off says.
      platform.write(`${name}.json`, modelManifest(name, models.write(7, `${name}-mended.onnx`), AT_ZERO));
      const healed = await waitFor(`${name} heals`, async () => {
        const again = await platform.infer(name, zeros());
        return again.status === 200 && again;
      });
      expect(await markOf(healed)).toBe(7);
      await platform.waitForService(name, 'is well', ({ state, ready }) => state === 'Ready' && ready);
    },
  );

  it('slower than the start timeout: the caller is told in time, with the phase', async () => {
    // Its 4 s are for its own load, not for the tests before it to give a standby back.
    await platform.waitForStandbys(1);
    const beganMs = performance.now();
    const answer = await platform.infer('slow', zeros());
    expect(performance.now() - beganMs).toBeLessThan(10_000);
    const text = await answer.text();
    expect([503, 504]).toContain(answer.status);
    expect(text).toMatch(/fetching the model|model-load-timeout/);
    const service = await platform.waitForService('slow', 'has failed', ({ state }) => state === 'Failed');
    expect(service.message).toContain('model-load-timeout');
    expect(service.message).toMatch(/4000 ms|4 s/);
    store.release('slow.onnx');
    const healed = await waitFor(
      'it loads once the store is quick',
      async () => {
        const again = await platform.infer('slow', zeros());
        return again.status === 200 && again;
      },
      60_000,
    );
    expect(await markOf(healed)).toBe(5);
  });
});
