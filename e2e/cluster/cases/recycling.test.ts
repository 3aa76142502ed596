import { expect, test } from 'vitest';
import { RESOURCES } from '../../../controller/adapters/kube/api/paths.ts';
import { LARGE_MODEL } from '../object-store.ts';
import { evaluateInPod, type Holdings, holdings } from './testing/in-pod.ts';
import { isWaitingStandby, json, onPlatform, type Pod } from './testing/platform.ts';
import { modelService } from './testing/services.ts';

const on = onPlatform('recycling');

const CACHE = '/cache/';
const POOL = {
  apiVersion: 'serving.pilotlight.dev/v1alpha1',
  kind: 'StandbyPool',
  metadata: { name: 'one' },
  spec: { size: 1 },
};
/** Far less than the model's weights; a process that has just begun holds some more than one that has waited. */
const TOLERANCE_BYTES = 16e6;

const inCache = (files: readonly string[]): string[] => files.filter((file) => file.startsWith(CACHE));
const elsewhere = (files: readonly string[]): string[] => files.filter((file) => !file.startsWith(CACHE));

test('a pod that goes back to its pool keeps nothing of the model but its cache, which serves the next claim', async () => {
  await on.apply(POOL, modelService('large', LARGE_MODEL.key, { predictor: { maxReplicas: 1 } }));
  await on.waitForReady('large');
  await on.waitForStandby();
  const [standby] = (await on.pods()).filter(isWaitingStandby);
  const name = standby?.metadata?.name ?? '';
  const look = async (): Promise<Holdings> => {
    const pod = await on.get<Pod>(RESOURCES.pods, name);
    if (pod === undefined) throw new Error(`the pod ${name} is gone`);
    return evaluateInPod(on, pod, holdings);
  };
  const before = await look();
  expect(inCache(before.inUse)).toEqual([]);

  const { width, weightsBytes } = LARGE_MODEL;
  const request = {
    inputs: [{ name: 'x', shape: [1, width], datatype: 'FP32', data: Array<number>(width).fill(0.5) }],
  };
  const answered = async (): Promise<number[]> => {
    const { outputs } = json(await on.infer('large', request)) as { outputs: { data: number[] }[] };
    return outputs[0]?.data ?? [];
  };
  const first = await answered();
  expect((await on.servingPod('large')).metadata?.name).toBe(name);
  const serving = await look();
  // Or what follows would show nothing.
  expect(serving.residentBytes).toBeGreaterThan(before.residentBytes + weightsBytes * 0.8);
  expect(inCache(serving.inUse)).not.toEqual([]);

  await on.waitForZero('large');
  const after = await on.until('its memory is a standby’s again', async () => {
    const now = await look();
    return now.residentBytes < before.residentBytes + TOLERANCE_BYTES && now;
  });
  expect(inCache(after.inUse)).toEqual([]);
  expect(elsewhere(after.kept)).toEqual(elsewhere(before.kept));
  expect(inCache(after.kept)).not.toEqual([]);

  await on.until('it waits for a claim', async () => {
    const pod = await on.get<Pod>(RESOURCES.pods, name);
    return pod !== undefined && isWaitingStandby(pod);
  });
  const second = await answered();
  expect(second).toHaveLength(width);
  // The graph has been optimised meanwhile, whose kernels add in another order.
  for (const [index, value] of second.entries()) expect(value).toBeCloseTo(first[index] ?? Number.NaN, 3);
  expect((await on.servingPod('large')).metadata?.name).toBe(name);
  await on.until('the start is told, with the model from the cache', async () => {
    const selector = 'involvedObject.name=large,reason=ColdStart';
    const told = await on.kubectl('get', 'events', '--field-selector', selector, '--output', 'yaml');
    return told.includes('(cached)');
  });
});
