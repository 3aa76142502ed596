import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ServiceView } from '../../contracts/console.ts';
import { call } from './testing/http-call.ts';
import { configMap, documents, modelManifest, secret } from './testing/manifests.ts';
import { ModelFolder, markIn, zeros } from './testing/marked-model.ts';
import { TestPlatform } from './testing/platform.ts';
import { waitFor } from './testing/wait-for.ts';

const AT_ZERO = { scaling: { initialScale: 0 }, predictor: { maxReplicas: 1 } };
const models = new ModelFolder();
let platform: TestPlatform;

beforeAll(async () => {
  platform = await TestPlatform.start({
    standbys: 2,
    manifests: {
      'several.yaml': documents(
        modelManifest('alpha', models.write(1), AT_ZERO),
        modelManifest('beta', models.write(2), { ...AT_ZERO, namespace: 'lab' }),
      ),
      'shared-1.json': modelManifest('first', models.write(3), {
        ...AT_ZERO,
        model: { args: ['--model_name=shared'] },
      }),
      'shared-2.json': modelManifest('second', models.write(4), {
        ...AT_ZERO,
        model: { args: ['--model_name=shared'] },
      }),
      'twice-1.json': modelManifest('twice', models.write(5), AT_ZERO),
      'twice-2.json': modelManifest('twice', models.write(6), AT_ZERO),
      'own.yaml': documents(
        configMap('settings', { LEVEL: 'warn' }),
        secret('token', { value: 'secret' }),
        modelManifest('own', models.write(7), {
          ...AT_ZERO,
          model: {
            env: [
              { name: 'LEVEL', valueFrom: { configMapKeyRef: { name: 'settings', key: 'LEVEL' } } },
              { name: 'TOKEN', valueFrom: { secretKeyRef: { name: 'token', key: 'value' } } },
            ],
          },
        }),
      ),
      'claim.yaml': modelManifest('claim', 'pvc://weights/m.onnx', AT_ZERO),
      'lost.yaml': modelManifest('lost', models.write(8), {
        ...AT_ZERO,
        model: { env: [{ name: 'A', valueFrom: { secretKeyRef: { name: 'nowhere', key: 'a' } } }] },
      }),
    },
  });
});

afterAll(async () => {
  await platform.stop();
  models.remove();
});

async function markAt(path: string, host?: string): Promise<number> {
  const answer = await call(platform.url, path, { body: zeros(), ...(host !== undefined && { host }) });
  expect(answer.status, answer.text).toBe(200);
  return markIn(answer.text);
}

const conditionOf = (service: ServiceView, type: string) =>
  (service.status as { conditions?: { type: string; status: string; message?: string }[] }).conditions?.find(
    (condition) => condition.type === type,
  );

describe.concurrent('manifests on a running platform', () => {
  it('a service is found by host, by path and by the name of its model', async () => {
    const infer = '/v2/models/alpha/infer';
    for (const host of [
      'alpha.default',
      'alpha.default.localhost',
      'alpha.default.svc.cluster.local',
      'ALPHA.default:80',
    ]) {
      expect(await markAt(infer, host), host).toBe(1);
    }
    expect(await markAt(`/default/alpha${infer}`)).toBe(1);
    expect(await markAt(infer)).toBe(1);
    expect(await markAt('/lab/beta/v2/models/beta/infer')).toBe(2);
    expect(await markAt('/v2/models/beta/infer', 'beta.lab')).toBe(2);
    const elsewhere = await call(platform.url, '/v2', { host: 'alpha.lab' });
    expect(elsewhere.status).toBe(404);
  });

  it('a model’s name that two services have leads to neither, and the answer names both', async () => {
    const answer = await call(platform.url, '/v2/models/shared/infer', { body: zeros() });
    expect(answer.status).toBe(404);
    expect(answer.headers['pilotlight-error']).toBe('unknown-service');
    expect(answer.text).toContain('/default/first');
    expect(answer.text).toContain('/default/second');
    expect(await markAt('/v2/models/shared/infer', 'second.default')).toBe(4);
    expect(await markAt('/default/first/v2/models/shared/infer')).toBe(3);
  });

  it('of two services of one name the first file’s counts, until that file is gone', async () => {
    expect(await markAt('/v2/models/twice/infer')).toBe(5);
    const both = await platform.service('twice');
    expect(both.state).toBe('Invalid');
    expect(both.message).toContain('twice-1.json');
    expect(both.message).toContain('twice-2.json');
    expect((await platform.services()).filter(({ name }) => name === 'twice')).toHaveLength(1);
    platform.remove('twice-1.json');
    await platform.waitForService('twice', 'is whole', ({ state }) => state !== 'Invalid');
    await waitFor('the other one answers', async () => (await markAt('/v2/models/twice/infer')) === 6);
  });

  it('a service with an environment of its own has a process of its own, and says why', async () => {
    const service = await platform.service('own');
    const fit = conditionOf(service, 'StandbyFit');
    expect(fit?.status).toBe('False');
    expect(fit?.message).toContain('spec.predictor.model.env');
    expect(conditionOf(await platform.service('alpha'), 'StandbyFit')?.status).toBe('True');
    expect(await markAt('/v2/models/own/infer')).toBe(7);
    const [replica] = await platform.replicas('own');
    expect(replica?.id).toMatch(/^runtime-/);
    const [start] = (await platform.coldStarts()).filter(({ service: name }) => name === 'own');
    expect(start?.via).toBe('new');
  });

  it('a model on a claim is refused with what does here', async () => {
    const claim = await platform.service('claim');
    expect(claim.state).toBe('Invalid');
    expect(claim.message).toContain('a claim is mounted in a cluster only; here give the folder as file:');
  });

  it('a reference to a Secret that is not there is named, and mended by the Secret alone', async () => {
    const lost = await platform.service('lost');
    expect(lost.state).toBe('Invalid');
    expect(lost.message).toContain('Secret "nowhere" is not in namespace "default"');
    platform.write('secret.yaml', secret('nowhere', { a: '1' }));
    await platform.waitForService('lost', 'is whole', ({ state }) => state === 'Standby');
    expect(await markAt('/v2/models/lost/infer')).toBe(8);
  });
});
