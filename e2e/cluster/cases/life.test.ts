import { expect, test } from 'vitest';
import { RESOURCES } from '../../../controller/adapters/kube/api/paths.ts';
import { isTerminating } from '../../../controller/adapters/kube/core/pod-state.ts';
import { zeros } from '../../local/testing/marked-model.ts';
import { CHAIN_WIDTH } from '../object-store.ts';
import { json, mark, onPlatform, type Pod } from './testing/platform.ts';
import { markedService, modelService } from './testing/services.ts';
import { EXPECTED_TEXT, imageRequest, textIn } from './testing/text-image.ts';

const on = onPlatform('life');

test('a text recogniser in S3 answers from nothing, goes back to nothing, and answers from nothing again', async () => {
  const said = await on.apply(modelService('ocr', 'ocr/rec.onnx'));
  expect(said).toContain('ocr created');
  await on.waitForReady('ocr');
  expect(await on.pods('ocr')).toEqual([]);
  await on.waitForStandby();
  const request = await imageRequest();
  for (let start = 1; start <= 2; start += 1) {
    const answer = await on.call('ocr', '/v2/models/ocr/infer', request);
    expect(await textIn(answer)).toBe(EXPECTED_TEXT);
    const pod = await on.servingPod('ocr');
    expect(pod.metadata?.ownerReferences).toMatchObject([
      { kind: 'InferenceService', name: 'ocr', controller: true },
    ]);
    await on.waitForZero('ocr');
    await on.waitForService('ocr', 'says so', ({ status }) => status?.replicas?.ready === 0);
    // It is a standby again, or has made room for one that has the model as well.
    const left = await on.get<Pod>(RESOURCES.pods, pod.metadata?.name ?? '');
    if (left !== undefined && !isTerminating(left))
      expect(left.metadata?.ownerReferences).toMatchObject([{ kind: 'StandbyPool' }]);
  }
});

test('a model with 8-bit weights answers what its original answers, as nearly as 8 bits can', async () => {
  await on.apply(modelService('chain', 'chain/fp32.onnx'), modelService('chain-int8', 'chain/int8.onnx'));
  const data = Array.from({ length: CHAIN_WIDTH }, (_, index) => Math.sin(index));
  const request = { inputs: [{ name: 'x', shape: [1, CHAIN_WIDTH], datatype: 'FP32', data }] };
  const answered = async (name: string): Promise<number[]> => {
    await on.waitForReady(name);
    const body = json(await on.infer(name, request)) as { outputs: { data: number[] }[] };
    return body.outputs[0]?.data ?? [];
  };
  const [original, quantised] = [await answered('chain'), await answered('chain-int8')];
  expect(quantised).toHaveLength(CHAIN_WIDTH);
  const norm = (values: readonly number[]): number => Math.hypot(...values);
  const error =
    norm(quantised.map((value, index) => value - (original[index] ?? Number.NaN))) / norm(original);
  expect(norm(original)).toBeGreaterThan(0);
  // Not the same weights: an error of exactly nothing would mean that both were served by one model.
  expect(error).toBeGreaterThan(0);
  expect(error).toBeLessThan(0.1);
});

test('kubectl shows where a service is and how it is', async () => {
  await on.apply(markedService('shown', 7));
  await on.waitForReady('shown');
  expect(mark(await on.infer('shown', zeros()))).toBe(7);
  await on.waitForService('shown', 'has a replica', ({ status }) => status?.replicas?.ready === 1);
  const [head = '', row = ''] = (await on.kubectl('get', 'isvc', 'shown')).split('\n');
  expect(head.split(/\s+/)).toEqual(['NAME', 'URL', 'READY', 'STATE', 'REPLICAS', 'REVISION', 'AGE']);
  const [name, url, ready, , replicas, revision] = row.split(/\s+/);
  expect({ name, url, ready, replicas, revision }).toEqual({
    name: 'shown',
    url: `http://shown.${on.namespace}.svc.cluster.local`,
    ready: 'True',
    replicas: '1',
    revision: 'shown-00001',
  });
  await on.waitForEvent('shown', 'ColdStart');
  const described = await on.kubectl('describe', 'isvc', 'shown');
  expect(described).toMatch(/ColdStart/);
});

test('kubectl explains every field of a service', async () => {
  const explained = await on.kubectl('explain', 'isvc.spec.predictor', '--recursive=false');
  const fields = explained
    .slice(explained.indexOf('FIELDS:'))
    .split(/\n {2}(?=\S+\t<)/)
    .slice(1);
  expect(fields.length).toBeGreaterThan(10);
  const bare = fields.filter((field) => field.split('\n').slice(1).join('').trim() === '');
  expect(bare, 'fields without a word').toEqual([]);
});

test('deleting a service removes all that belongs to it', async () => {
  await on.apply(markedService('brief', 8));
  await on.waitForReady('brief');
  json(await on.infer('brief', zeros()));
  await on.kubectl('delete', 'isvc', 'brief');
  await on.until('nothing of it is left', async () => {
    const kinds = [RESOURCES.services, RESOURCES.endpointSlices, RESOURCES.controllerRevisions];
    const names = await Promise.all(
      kinds.map(async (kind) => (await on.list(kind)).map(({ metadata }) => metadata?.name ?? '')),
    );
    return !names.flat().some((name) => name.startsWith('brief')) && (await on.pods('brief')).length === 0;
  });
});
