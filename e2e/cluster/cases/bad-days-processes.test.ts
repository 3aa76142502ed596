import { afterEach, expect, test } from 'vitest';
import { RESOURCES } from '../../../controller/adapters/kube/api/paths.ts';
import { LONG_REQUEST, zeros } from '../../local/testing/marked-model.ts';
import { leader, signal, waitForLeader, waitForPlatform } from './testing/controllers.ts';
import { mark, onPlatform, text } from './testing/platform.ts';
import { markedService, modelService, type ServiceOptions } from './testing/services.ts';
import { EXPECTED_TEXT, imageRequest, textIn } from './testing/text-image.ts';

/** What is killed here is killed on its node, past Kubernetes: nobody is told, nothing is put in order. */

const on = onPlatform('bad-days');
const ONE = { predictor: { maxReplicas: 1 } };

afterEach(() => waitForPlatform(on));

/** Where a pod may run is fixed when it is made, so that no standby fits: a start of such a service takes a second. */
const ITS_OWN_POD = { predictor: { nodeSelector: { 'kubernetes.io/os': 'linux' } } };

/** How a start is made, and what is waited for before what disturbs it. */
interface Start {
  readonly options: ServiceOptions;
  readonly isPrepared: () => Promise<unknown>;
  readonly isUnderWay: (name: string) => Promise<unknown>;
}

const nothing = (): Promise<void> => Promise.resolve();
/** What disturbs it gets there about as long after the request as the start takes: at any of its phases. */
const THROUGH_A_STANDBY: Start = {
  options: {},
  isPrepared: () => on.waitForStandby(),
  isUnderWay: nothing,
};
const OF_A_NEW_POD: Start = {
  options: ITS_OWN_POD,
  isPrepared: nothing,
  isUnderWay: (name) =>
    on.waitForService(name, 'is starting', ({ status }) => (status?.replicas?.starting ?? 0) > 0),
};

test.each([
  ['through a standby', 'ocr', THROUGH_A_STANDBY],
  ['of a new pod', 'ocr-new', OF_A_NEW_POD],
])(
  'the controller is killed in the middle of a cold start %s: the next one answers the request',
  async (_how, name, { options, isPrepared, isUnderWay }) => {
    await on.apply(modelService(name, 'ocr/rec.onnx', options));
    await on.waitForReady(name);
    await isPrepared();
    const { pod, epoch } = await waitForLeader(on);
    const answer = on.call(name, `/v2/models/${name}/infer`, await imageRequest());
    await isUnderWay(name);
    await signal(on, pod, 'SIGKILL');
    expect(await textIn(await answer)).toBe(EXPECTED_TEXT);
    // Whether it was the old one at its last or the new one: the new one leads, and knows whom the pod serves.
    await waitForLeader(on, epoch);
    await on.waitForService(name, 'has one replica', ({ status }) => status?.replicas?.ready === 1);
    await on.servingPod(name);
    expect(await on.pods(name)).toHaveLength(1);
    await on.waitForZero(name);
  },
);

test('the leader is killed under load: warm requests notice nothing, a cold one is answered within 8 s', async () => {
  // One replica is enough for the load: the standby is the other service's.
  const predictor = { maxReplicas: 1, containerConcurrency: 4 };
  await on.apply(markedService('warm', 1, { predictor }), markedService('cold', 2));
  await on.waitForReady('warm');
  await on.waitForReady('cold');
  expect(mark(await on.infer('warm', zeros()))).toBe(1);
  await on.waitForStandby();
  const load = await on.load({ targets: [on.inference('warm', zeros())], connections: 4, pauseMs: 5 });
  const { pod, epoch } = await waitForLeader(on);
  await signal(on, pod, 'SIGKILL');
  const cold = await on.infer('cold', zeros());
  expect(mark(cold)).toBe(2);
  expect(cold.tookMs).toBeLessThan(8_000);
  await waitForLeader(on, epoch);
  const { failures, answered, bodies } = await load.end();
  expect(failures).toEqual([]);
  expect(answered).toBeGreaterThan(100);
  expect(Object.keys(bodies[0] ?? {})).toHaveLength(1);
});

test('a leader that hangs and comes back to life leads no more, and nothing that it began is done twice', async () => {
  const services = [11, 12, 13, 14];
  await on.apply(...services.map((number) => markedService(`hung-${number}`, number, ONE)));
  for (const number of services) await on.waitForReady(`hung-${number}`);
  await on.waitForStandby();
  const { pod, epoch } = await waitForLeader(on);
  // Its starts are under way when it stops; its successor has to see to them, with the same standbys.
  const first = services.map((number) => on.infer(`hung-${number}`, zeros()));
  await signal(on, pod, 'SIGSTOP');
  const answers = await Promise.all(first);
  expect(answers.map(mark)).toEqual(services);
  await waitForLeader(on, epoch);
  const second = services.map((number) => on.infer(`hung-${number}`, zeros()));
  await signal(on, pod, 'SIGCONT');
  expect((await Promise.all(second)).map(mark)).toEqual(services);
  // It finds that its time is over and ends; Kubernetes starts it anew, as a follower.
  await on.until('the one that hung has been restarted', async () => {
    const path = `/api/v1/namespaces/${pod.metadata?.namespace}/pods/${pod.metadata?.name}`;
    const now = await on.api.get<typeof pod>(path);
    return (
      (now?.status?.containerStatuses?.[0]?.restartCount ?? 0) >
      (pod.status?.containerStatuses?.[0]?.restartCount ?? 0)
    );
  });
  expect((await leader(on))?.pod.metadata?.name).not.toBe(pod.metadata?.name);
  // Of each service one pod at most: no standby was taken for a start that another one had taken up.
  for (const number of services) expect((await on.pods(`hung-${number}`)).length).toBeLessThanOrEqual(1);
});

test('a runtime is killed under load: only what it had begun can fail, and another one takes over', async () => {
  await on.apply(markedService('killed', 3, { predictor: { minReplicas: 2, containerConcurrency: 4 } }));
  await on.waitForReady('killed');
  await on.waitForService('killed', 'has two replicas', ({ status }) => status?.replicas?.ready === 2);
  const load = await on.load({ targets: [on.inference('killed', zeros())], connections: 8, pauseMs: 2 });
  await on.until('requests are answered', async () => (await load.state()).answered > 200);
  const victim = await on.servingPod('killed');
  await signal(on, victim, 'SIGKILL');
  await on.waitForService('killed', 'has two replicas again', ({ status }) => status?.replicas?.ready === 2);
  const before = (await load.state()).answered;
  await on.until('requests go on', async () => (await load.state()).answered > before + 200);
  const { failures, bodies } = await load.end();
  // A body of this size is held and the request, an inference call, tried once more.
  expect(failures).toEqual([]);
  expect(Object.keys(bodies[0] ?? {})).toHaveLength(1);
});

test.each([
  ['through a standby', 'deleted', THROUGH_A_STANDBY],
  ['of a new pod', 'deleted-new', OF_A_NEW_POD],
])(
  'a service is deleted during its cold start %s: its caller is told so, and the pod is free again',
  async (_how, name, { options, isUnderWay }) => {
    await on.apply(modelService(name, 'ocr/rec.onnx', options));
    await on.waitForReady(name);
    await on.waitForStandby();
    const answer = on.call(name, `/v2/models/${name}/infer`, await imageRequest());
    await isUnderWay(name);
    await on.kubectl('delete', 'isvc', name, '--wait=false');
    const { status, error, bodyBase64, ...rest } = await answer;
    // Answered before the deletion arrived, or told that the service is unknown now; nothing hangs.
    if (status !== 200) {
      expect(text({ status, bodyBase64, ...rest })).toMatch(/unknown|no service|deleted/i);
      expect([404, 503]).toContain(status);
    }
    expect(error).toBeUndefined();
    await on.waitForZero(name);
    await on.until('nothing of it is left', async () => {
      const services = await on.list(RESOURCES.services);
      return !services.some(({ metadata }) => metadata?.name === name);
    });
    await on.waitForStandby();
  },
);

test('a request that takes long is answered by the replica that has it, whatever becomes of the controllers', async () => {
  await on.apply(markedService('long', 5));
  await on.waitForReady('long');
  expect(mark(await on.infer('long', zeros()))).toBe(5);
  const { pod, epoch } = await waitForLeader(on);
  const answer = on.infer('long', LONG_REQUEST);
  await signal(on, pod, 'SIGKILL');
  expect(mark(await answer)).toBe(5);
  await waitForLeader(on, epoch);
});
