import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ADMIN_PATHS, type RuntimeState, runtimeStateSchema } from '../../contracts/admin.ts';
import { call } from './testing/http-call.ts';
import { modelManifest } from './testing/manifests.ts';
import { ModelFolder, markIn, zeros } from './testing/marked-model.ts';
import { TestPlatform } from './testing/platform.ts';
import { startTraffic } from './testing/traffic.ts';
import { waitFor } from './testing/wait-for.ts';

const models = new ModelFolder();
const AT_ZERO = { scaling: { initialScale: 0 } };
let platform: TestPlatform;
/** For one service, which has the pool for itself. */
let quiet: TestPlatform;

beforeAll(async () => {
  const shared = TestPlatform.start({
    standbys: 2,
    manifests: {
      'eager.json': modelManifest('eager', models.write(2)),
      'canary.json': modelManifest('canary', models.write(10), AT_ZERO),
      'stopped.json': modelManifest('stopped', models.write(3), AT_ZERO),
      'sklearn.yaml': SKLEARN,
    },
  });
  const night = modelManifest('night', models.write(1), { ...AT_ZERO, predictor: { maxReplicas: 1 } });
  quiet = await TestPlatform.start({ manifests: { 'night.json': night } });
  platform = await shared;
});

afterAll(async () => {
  await Promise.all([platform.stop(), quiet.stop()]);
  models.remove();
});

/** A sample of KServe's documentation, its apiVersion changed. */
const SKLEARN = `
apiVersion: serving.pilotlight.dev/v1alpha1
kind: InferenceService
metadata:
  name: sklearn-iris
spec:
  predictor:
    model:
      modelFormat:
        name: sklearn
      storageUri: gs://kfserving-examples/models/sklearn/1.0/model
`;

async function inferred(model: string, on = platform): Promise<number> {
  const response = await on.infer(model, zeros());
  const text = await response.text();
  expect(response.status, text).toBe(200);
  return markIn(text);
}

/** What the runtime of a replica says of itself, over its admin port. */
async function runtimeState(on: TestPlatform, replicaId: string): Promise<RuntimeState> {
  const host = replicaId.slice(0, replicaId.lastIndexOf('.'));
  const read = (folder: string): Record<string, unknown> =>
    JSON.parse(readFileSync(join(on.stateDir, folder, `${host}.json`), 'utf8')) as Record<string, unknown>;
  const { token } = read('replicas');
  const { adminPort } = read('records');
  const { text } = await call(`http://127.0.0.1:${String(adminPort)}`, ADMIN_PATHS.state, {
    headers: { authorization: `Bearer ${String(token)}` },
  });
  return runtimeStateSchema.parse(JSON.parse(text));
}

describe.concurrent('the life of a service', () => {
  it('goes from nothing to an answer, back to nothing, and to an answer again', async () => {
    const asleep = await quiet.service('night');
    expect(asleep).toMatchObject({ state: 'Standby', ready: true, replicas: { wanted: 0, ready: 0 } });
    expect(await quiet.replicas('night')).toEqual([]);

    expect(await inferred('night', quiet)).toBe(1);
    const awake = await quiet.waitForService('night', 'is ready', ({ state }) => state === 'Ready');
    expect(awake.replicas).toMatchObject({ wanted: 1, ready: 1 });
    const [first] = await quiet.replicas('night');
    expect(await inferred('night', quiet)).toBe(1);

    await quiet.waitForZero('night');
    const again = await quiet.service('night');
    expect(again).toMatchObject({ state: 'Standby', ready: true, replicas: { wanted: 0, ready: 0 } });
    // The process is the same, what it holds isn't: a new incarnation, blank, with the model's file in its cache.
    const recycled = await waitFor('the standby is recycled', async () =>
      (await quiet.replicas()).find(({ pid, state }) => pid === first?.pid && state === 'standby'),
    );
    expect(recycled.id).not.toBe(first?.id);
    const state = await runtimeState(quiet, recycled.id);
    expect(state.state).toBe('standby');
    expect(state.claim).toBeUndefined();
    expect(state.inFlight).toBe(0);

    expect(await inferred('night', quiet)).toBe(1);
    const starts = (await quiet.coldStarts()).filter(({ service }) => service === 'night');
    expect(starts).toHaveLength(2);
    expect(starts[0]).toMatchObject({ via: 'standby', demanded: true, replica: recycled.id });
  });

  it('tries a model out when it is applied, and is ready then', async () => {
    const service = await platform.waitForService(
      'eager',
      'has loaded',
      ({ status }) =>
        (status as { modelStatus?: { transitionStatus?: string } }).modelStatus?.transitionStatus ===
        'UpToDate',
    );
    expect(service.ready).toBe(true);
    expect(await inferred('eager')).toBe(2);
  });

  it('takes up, changes and forgets manifests while it runs, and loses no request in a roll-out', async () => {
    platform.write('rolled.json', modelManifest('rolled', models.write(21)));
    await platform.waitForService('rolled', 'is ready', ({ state }) => state === 'Ready');
    const traffic = startTraffic(
      2,
      () => platform.infer('rolled', zeros()),
      (text) => String(markIn(text)),
    );
    await waitFor('traffic flows', () => traffic.answers > 50);
    platform.write('rolled.json', modelManifest('rolled', models.write(22)));
    await platform.waitForService(
      'rolled',
      'has moved to its second revision',
      ({ status, latestRevision }) =>
        latestRevision === 'rolled-00002' && JSON.stringify(status).includes('"percent":100'),
    );
    await waitFor('the new revision answers', async () => (await inferred('rolled')) === 22);
    const seen = traffic.answers;
    await waitFor('traffic goes on', () => traffic.answers > seen + 50);
    const { byText, failures } = await traffic.stop();
    expect(failures).toEqual([]);
    expect([...byText.keys()].sort()).toEqual(['21', '22']);

    platform.remove('rolled.json');
    const gone = await waitFor('the service is unknown', async () => {
      const answer = await call(platform.url, '/', { host: 'roled.default' });
      return answer.text.includes('did you mean') ? false : answer;
    });
    expect(gone.status).toBe(404);
    const byName = await call(platform.url, '/', { host: 'rolled.default' });
    expect(byName.status).toBe(404);
    expect(byName.headers['pilotlight-error']).toBe('unknown-service');
    await waitFor('its replicas are gone', async () => (await platform.replicas('rolled')).length === 0);
  });

  it('names services that look like the one that was asked for', async () => {
    const answer = await call(platform.url, '/v2', { host: 'eagr.default' });
    expect(answer.status).toBe(404);
    expect((JSON.parse(answer.text) as { error: string }).error).toContain('did you mean "eager"');
  });

  it('splits the traffic between a canary and the revision before it', async () => {
    expect(await inferred('canary')).toBe(10);
    const next = { ...AT_ZERO, predictor: { canaryTrafficPercent: 30 } };
    platform.write('canary.json', modelManifest('canary', models.write(11), next));
    await waitFor('both revisions have their share', async () => {
      const revisions = await platform.revisions('canary');
      return revisions.map(({ trafficPercent }) => trafficPercent).join() === '70,30';
    });
    const REQUESTS = 400;
    let fromCanary = 0;
    for (let sent = 0; sent < REQUESTS; sent += 4) {
      const marks = await Promise.all(Array.from({ length: 4 }, () => inferred('canary')));
      fromCanary += marks.filter((mark) => mark === 11).length;
    }
    // 120 of 400 expected; the standard deviation of such a draw is 9.2, and 6 of them are one flake in 500 million.
    expect(fromCanary).toBeGreaterThan(120 - 55);
    expect(fromCanary).toBeLessThan(120 + 55);
  });

  it('stops by annotation and serves again without it', async () => {
    expect(await inferred('stopped')).toBe(3);
    const model = join(models.path, 'marked-3.onnx');
    const annotations = { 'serving.kserve.io/stop': 'true' };
    platform.write('stopped.json', modelManifest('stopped', model, { ...AT_ZERO, annotations }));
    await platform.waitForService('stopped', 'is stopped', ({ state }) => state === 'Stopped');
    await platform.waitForZero('stopped');
    const refused = await platform.infer('stopped', zeros());
    expect(refused.status).toBe(503);
    expect(refused.headers.get('pilotlight-error')).toBe('service-stopped');
    expect(await refused.text()).toContain('serving.kserve.io/stop');

    platform.write('stopped.json', modelManifest('stopped', model, AT_ZERO));
    await platform.waitForService('stopped', 'is allowed again', ({ state }) => state !== 'Stopped');
    const response = await waitFor('it serves again', async () => {
      const one = await platform.infer('stopped', zeros());
      return one.status === 200 && one;
    });
    expect(markIn(await response.text())).toBe(3);
  });

  it('says of a sklearn manifest that only ONNX is supported, in the API and in the log', async () => {
    const service = await platform.service('sklearn-iris');
    expect(service.state).toBe('Invalid');
    expect(service.ready).toBe(false);
    expect(service.message).toContain('modelFormat');
    expect(service.message).toContain('only ONNX is supported');
    expect(service.message).toContain('sklearn.yaml');
    const logged = platform.log.filter((line) => line.includes('"a manifest is not valid"'));
    expect(logged).toHaveLength(1);
    expect(logged[0]).toContain('only ONNX is supported');
  });
});
