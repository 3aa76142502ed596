import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { addition, matMulChain } from '../models/onnx-models.ts';
import { type OnnxModel, writeOnnxFile } from '../models/onnx-writer.ts';
import { quantised } from '../models/quantised.ts';
import { modelManifest } from './testing/manifests.ts';
import { TestPlatform } from './testing/platform.ts';
import { waitFor } from './testing/wait-for.ts';

/** Services whose models are compared with others before they serve, on one machine. */

const WIDTH = 64;
const AT_ZERO = { scaling: { initialScale: 0 } };
const CHAIN = matMulChain({ layers: 2, width: WIDTH });

let folder: string;
let platform: TestPlatform;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'parity-'));
  write('int8.onnx', quantised(CHAIN));
  write('int8-too.onnx', quantised(CHAIN));
  write('original.onnx', CHAIN);
  write('gone-later.onnx', CHAIN);
  write('other.onnx', addition());
  writeFileSync(join(folder, 'samples.jsonl'), `${request(1)}\n${request(2)}\n\n${request(3)}\n`);
  writeFileSync(join(folder, 'broken.jsonl'), `${request(1)}\n{"inputs": [{"name": "x"}]}\n`);
  platform = await TestPlatform.start({ standbys: 1 });
});
afterAll(async () => {
  await platform.stop();
  rmSync(folder, { recursive: true, force: true });
});

const write = (name: string, model: OnnxModel): void => {
  writeOnnxFile(join(folder, name), model, { external: false });
};

function request(seed: number): string {
  const data = Array.from({ length: WIDTH }, (_, index) => Math.sin(seed * 100 + index));
  return JSON.stringify({ inputs: [{ name: 'x', datatype: 'FP32', shape: [1, WIDTH], data }] });
}

function apply(name: string, model: string, parity?: object, predictor: object = {}): void {
  const options = { ...AT_ZERO, predictor: { ...predictor }, ...(parity && { model: { parity } }) };
  platform.write(`${name}.json`, modelManifest(name, join(folder, model), options));
}

const infer = async (name: string): Promise<[status: number, text: string]> => {
  const answer = await platform.infer(name, JSON.parse(request(1)));
  return [answer.status, await answer.text()];
};

test('a quantised model serves that answers what its original answers; it is compared once and for all of its revision', async () => {
  const parity = {
    against: `file:${join(folder, 'gone-later.onnx')}`,
    samples: 'samples.jsonl',
    tolerancePercent: 10,
  };
  apply('near', 'int8.onnx', parity);
  await platform.waitForService('near', 'is ready', ({ ready }) => ready);
  expect((await infer('near'))[0]).toBe(200);
  await platform.waitForZero('near');
  // Whoever compared again now would find nothing to compare with.
  rmSync(join(folder, 'gone-later.onnx'));
  expect((await infer('near'))[0]).toBe(200);
});

test('one that is further off does not, and it is said how far', async () => {
  const against = `file:${join(folder, 'original.onnx')}`;
  apply('far', 'int8.onnx', { against, samples: 'samples.jsonl', tolerancePercent: 0.01 });
  await platform.waitForService('far', 'has failed', ({ state }) => state === 'Failed');
  const [status, text] = await infer('far');
  expect(status).toBe(503);
  expect(text).toContain('model-parity');
  expect(text).toMatch(
    /further from file:\S+original\.onnx than spec\.predictor\.model\.parity allows, on 3 samples: y: the largest error is [\d.]+ % of the largest value, more than 0\.01 %/,
  );
});

test('a canary that is further off gets no traffic', async () => {
  apply('rolling', 'original.onnx');
  await platform.waitForService('rolling', 'is ready', ({ ready }) => ready);
  expect((await infer('rolling'))[0]).toBe(200);
  const against = `file:${join(folder, 'original.onnx')}`;
  apply('rolling', 'int8-too.onnx', { against, tolerancePercent: 0 }, { canaryTrafficPercent: 50 });
  const shares = await waitFor('the canary has failed', async () => {
    const revisions = await platform.revisions('rolling');
    return revisions.some(({ state }) => state === 'Failed') && revisions;
  });
  expect(shares.map(({ trafficPercent }) => trafficPercent)).toEqual([100, 0]);
  expect(shares[1]?.message).toContain('on 8 made-up inputs');
  for (let sent = 0; sent < 10; sent += 1) expect((await infer('rolling'))[0]).toBe(200);
});

test.each([
  [
    'an original that takes other inputs',
    'other.onnx',
    'samples.jsonl',
    /the original takes .* the candidate/,
  ],
  ['a sample that is none', 'original.onnx', 'broken.jsonl', /sample broken\.jsonl, line 2: /],
  ['samples that are not there', 'original.onnx', 'nowhere.jsonl', /nowhere\.jsonl/],
  ['an original that is not there', 'nowhere.onnx', 'samples.jsonl', /nowhere\.onnx/],
])('%s is told by name', async (_what, original, samples, expected) => {
  const name = `told-${original.split('.')[0]}-${samples.split('.')[0]}`;
  apply(name, 'int8.onnx', { against: `file:${join(folder, original)}`, samples });
  const { message } = await platform.waitForService(name, 'has failed', ({ state }) => state === 'Failed');
  expect(message).toMatch(expected);
});
