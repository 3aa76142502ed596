import { expect, test } from 'vitest';
import { zeros } from '../../local/testing/marked-model.ts';
import { mark, onPlatform, type RunningLoad } from './testing/platform.ts';
import { markedService } from './testing/services.ts';
import { ledTo } from './testing/slices.ts';

const on = onPlatform('direct');

/** One replica that takes 16 at once, of which 8 are kept free for a burst. */
function near(name: string, number: number, minReplicas: number): object {
  return markedService(name, number, {
    predictor: { containerConcurrency: 16, minReplicas, maxReplicas: 1 },
    scaling: { burstCapacity: 8 },
  });
}

async function isDirect(name: string): Promise<boolean> {
  const pods = await on.pods(name);
  const { pods: led } = await ledTo(on, name);
  return pods.length > 0 && led.join() === pods.map(({ metadata }) => metadata?.name).join();
}

const whenDirect = (name: string): Promise<true> =>
  on.until(`the callers of ${name} are led to its pods`, async () => (await isDirect(name)) || undefined);

const whenProxied = (name: string): Promise<true> =>
  on.until(
    `the callers of ${name} are led to activators`,
    async () => (await ledTo(on, name)).isProxied || undefined,
  );

/** Only an activator says how long it had the request. */
async function cameThroughActivator(name: string): Promise<boolean> {
  const answer = await on.infer(name, zeros());
  mark(answer);
  return answer.headers['server-timing']?.includes('upstream') === true;
}

async function endWithoutFailure(...loads: readonly RunningLoad[]): Promise<void> {
  for (const load of loads) {
    const { failures, answered, sent } = await load.end();
    expect(failures).toEqual([]);
    expect(answered).toBe(sent);
    expect(answered).toBeGreaterThan(0);
  }
}

test('under load callers reach the replica itself, go back to activators when it fills up, and lose no request', async () => {
  await on.apply(near('near', 11, 1));
  await on.waitForReady('near');
  const [quick, slow] = [zeros(), zeros(600)].map((body) => on.inference('near', body));
  if (quick === undefined || slow === undefined) throw new Error('expected two requests');
  const little = await on.load({ targets: [quick], connections: 2, pauseMs: 5 });
  expect((await ledTo(on, 'near')).isProxied).toBe(true);
  expect(await cameThroughActivator('near')).toBe(true);

  await whenDirect('near');
  await on.until('a new connection leads to the pod', async () => !(await cameThroughActivator('near')));
  const service = await on.waitForService(
    'near',
    'says so',
    ({ status }) => status?.scaling?.path === 'direct',
  );
  expect(service.status?.replicas?.ready).toBe(1);

  // 12 at once leave 4 of 16 free: less than the burst capacity.
  const much = await on.load({ targets: [slow], connections: 12 });
  await whenProxied('near');
  await on.until('a new connection leads to an activator', () => cameThroughActivator('near'));
  await endWithoutFailure(much);

  await whenDirect('near');
  await endWithoutFailure(little);
});

test('a service that was direct goes to zero by way of its activators, and wakes again', async () => {
  await on.apply(near('brief', 12, 0));
  await on.waitForReady('brief');
  const load = await on.load({ targets: [on.inference('brief', zeros())], connections: 2, pauseMs: 20 });
  await whenDirect('brief');
  await endWithoutFailure(load);
  await on.waitForZero('brief');
  expect((await ledTo(on, 'brief')).isProxied).toBe(true);
  expect(mark(await on.infer('brief', zeros()))).toBe(12);
});

test('while a replica of a direct service is deleted, no request is lost', async () => {
  await on.apply(
    markedService('steady', 13, {
      predictor: { containerConcurrency: 16, minReplicas: 2, maxReplicas: 2 },
      scaling: { burstCapacity: 8 },
    }),
  );
  await on.waitForReady('steady');
  const load = await on.load({
    targets: [on.inference('steady', zeros())],
    connections: 4,
    pauseMs: 10,
  });
  await on.until('both pods are named', async () => {
    const { pods, isProxied } = await ledTo(on, 'steady');
    return !isProxied && pods.length === 2;
  });
  const { pods } = await ledTo(on, 'steady');
  const [leaving = ''] = pods;
  await on.kubectl('delete', 'pod', leaving, '--wait=false');
  await on.until('another pod is named in its place', async () => {
    const now = await ledTo(on, 'steady');
    return !now.isProxied && now.pods.length === 2 && !now.pods.includes(leaving);
  });
  await endWithoutFailure(load);
});
