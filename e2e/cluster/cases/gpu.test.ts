import { afterAll, beforeAll, expect, test } from 'vitest';
import { zeros } from '../../local/testing/marked-model.ts';
import { condition, mark, onPlatform, type ServiceObject } from './testing/platform.ts';
import { markedService } from './testing/services.ts';

/** Devices of a node, as a device plugin would offer them. */
const on = onPlatform('gpu');

const DEVICE = 'nvidia.com/gpu';
const POINTER = `/${DEVICE.replace('/', '~1')}`;
let node = '';

beforeAll(() => {
  node = on.cluster.nodes.find((name) => !name.endsWith('control-plane')) ?? '';
});

/** Offers devices on the node, or none any more: in its status, as Kubernetes documents it for extended resources. */
async function offer(count: number): Promise<void> {
  const change = (field: string): object =>
    count > 0
      ? { op: 'add', path: `/status/${field}${POINTER}`, value: String(count) }
      : { op: 'remove', path: `/status/${field}${POINTER}` };
  const patch = JSON.stringify([change('capacity'), change('allocatable')]);
  await on.kubectl('patch', 'node', node, '--subresource=status', '--type=json', '--patch', patch);
}

async function isOffered(): Promise<boolean> {
  const path = `jsonpath={.status.capacity.${DEVICE.replaceAll('.', String.raw`\.`)}}`;
  return (await on.kubectl('get', 'node', node, '--output', path)).trim() !== '';
}

afterAll(async () => {
  if (await isOffered()) await offer(0);
});

/** Shorter than a node takes to come; long enough for a pod to start once it is there, which takes seconds at times. */
const START_TIMEOUT_MS = 8_000;

/** Before its namespace has its pool, that is what the condition says. */
const hasNoStandby = (service: ServiceObject): boolean => {
  const { status, message = '' } = condition(service, 'StandbyFit');
  return status === 'False' && message.includes(`spec.predictor.model.resources.limits.${DEVICE}`);
};

test('a model that asks for a GPU waits for a node that has one, says so, and starts there', async () => {
  expect(await isOffered()).toBe(false);
  await on.apply(
    markedService('seeing', 21, {
      model: { resources: { limits: { [DEVICE]: '1' } } },
      predictor: { maxReplicas: 1 },
      scaling: { startTimeout: `${START_TIMEOUT_MS}ms` },
    }),
  );
  await on.waitForReady('seeing');
  await on.waitForService('seeing', 'says that no standby can be it', hasNoStandby);
  await on.waitForStandby();

  const beganMs = performance.now();
  const load = await on.load({ targets: [on.inference('seeing', zeros())], connections: 1 });
  const waiting = await on.waitForService(
    'seeing',
    'says what it waits for',
    (service) => condition(service, 'Ready').reason === 'Unschedulable',
  );
  expect(condition(waiting, 'Ready')).toMatchObject({
    status: 'False',
    message: expect.stringContaining(`Insufficient ${DEVICE}`),
  });
  // Time in which a node is being added is not the service's own: the request goes on waiting.
  await on.until('the start timeout is over', async () => performance.now() - beganMs > 2 * START_TIMEOUT_MS);
  expect(await load.state()).toMatchObject({ sent: 1, answered: 0, failed: 0 });
  // The standby that waits stays what it is.
  await on.waitForStandby();

  await offer(1);
  await on.until('it answers', async () => (await load.state()).answered > 0);
  const pod = await on.servingPod('seeing');
  expect(pod.spec?.nodeName).toBe(node);
  expect(pod.spec?.containers[0]?.resources?.limits?.[DEVICE]).toBe('1');
  await on.waitForService('seeing', 'is ready', (service) => condition(service, 'Ready').status === 'True');
  const result = await load.end();
  expect(result.failures).toEqual([]);
  expect(result.latencyMs.max).toBeGreaterThan(2 * START_TIMEOUT_MS);
  expect(mark(await on.infer('seeing', zeros()))).toBe(21);
  await on.waitForZero('seeing');
  await offer(0);
});
