import {
  existsSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { chainOfSize } from '../../e2e/models/onnx-models.ts';
import { TEXT_RECOGNISER } from '../../e2e/models/real-models.ts';
import { CompileProcess } from './compile-job.ts';
import { type ModelHandle, modelClosed } from './load-model.ts';
import { anonymousBytes } from './memory-fit.ts';
import { type FormKind, ModelForms } from './model-forms.ts';
import { Settling } from './settling.ts';
import { findStart, plainStart, type StartingPoint, usable } from './starting-point.ts';
import { callWith, EngineBench, floats, floatsOf } from './testing/load-for-test.ts';

let cacheDir: string;
let bench: EngineBench;
let forms: ModelForms;
const left: string[] = [];
beforeEach(async () => {
  cacheDir = await mkdtemp(join(tmpdir(), 'pilotlight-forms-'));
  bench = new EngineBench();
  forms = new ModelForms({ cacheDir, cacheBytes: 10e9 }, 'model');
  left.length = 0;
});
afterEach(async () => {
  await bench.close();
  rmSync(cacheDir, { recursive: true, force: true });
});

const image = () => floats('x', [1, 3, 48, 32], 0.3);
const sizeOf = (files: readonly string[]): number =>
  files.reduce((sum, file) => sum + statSync(file).size, 0);

async function start(files: readonly string[]): Promise<StartingPoint> {
  const model = { modelPath: files[0] ?? '', files, sizeBytes: sizeOf(files) };
  return findStart(model, forms, (reason) => left.push(reason));
}

async function load(files: readonly string[]): Promise<{ model: ModelHandle; kind: StartingPoint['kind'] }> {
  const found = await start(files);
  return { model: await bench.load(files, { forms, start: found }), kind: found.kind };
}

async function answer(model: ModelHandle): Promise<Float32Array> {
  return floatsOf((await model.infer(callWith([image()]))).outputs);
}

/** Until the form is published; its graph. */
async function published(kind: FormKind): Promise<string> {
  return vi.waitUntil(
    async () => {
      const form = await usable(forms, kind);
      await form?.release();
      return form?.graphPath;
    },
    { timeout: 30_000 },
  );
}

function expectClose(found: Float32Array, expected: Float32Array): void {
  expect(found.length).toBe(expected.length);
  expect(
    Math.max(...found.map((value, index) => Math.abs(value - (expected[index] ?? Number.NaN)))),
  ).toBeLessThan(1e-4);
}

test('the first start maps the weights of a file that has them inside; behind its answer the optimised form is made, and the next start is from it', async () => {
  const plain = await bench.load([TEXT_RECOGNISER]);
  const expected = await answer(plain);
  const first = await load([TEXT_RECOGNISER]);
  expect(first.kind).toBe('external');
  // Not bit by bit: without prepacked weights the kernels add in another order.
  expectClose(await answer(first.model), expected);
  const graph = await published('optimised');
  expect(
    readdirSync(dirname(graph))
      .filter((name) => name !== 'unsynced')
      .sort(),
  ).toEqual(['graph.onnx', 'manifest.json', 'weights.bin']);
  await vi.waitUntil(() => bench.told.some(({ line }) => line === 'settled'), { timeout: 30_000 });
  expectClose(await answer(first.model), expected);
  await first.model.close(modelClosed());
  const second = await load([TEXT_RECOGNISER]);
  expect(second.kind).toBe('optimised');
  expectClose(await answer(second.model), expected);
  expect(bench.told.map(({ line }) => line)).not.toContain('trouble');
}, 60_000);

test.each<[string, (graph: string) => void]>([
  ['cut short', (graph) => truncateSync(join(dirname(graph), 'weights.bin'), 1_000)],
  [
    'a hole of zeros',
    (graph) =>
      writeFileSync(
        join(dirname(graph), 'weights.bin'),
        Buffer.alloc(statSync(join(dirname(graph), 'weights.bin')).size),
      ),
  ],
  ['a graph of other bytes', (graph) => writeFileSync(graph, Buffer.alloc(readFileSync(graph).length, 0xff))],
  ['a graph that is gone', (graph) => rmSync(graph)],
])(
  'a form that is damaged (%s) is thrown away, and the request answered from the next best',
  async (_what, damage) => {
    const expected = await answer(await bench.load([TEXT_RECOGNISER]));
    const found = await start([TEXT_RECOGNISER]);
    await found.release();
    damage(found.graphPath);
    const { model, kind } = await load([TEXT_RECOGNISER]);
    expect(kind).toBe('external');
    expectClose(await answer(model), expected);
  },
  30_000,
);

test('a form that looks whole and that ONNX Runtime refuses costs the request nothing but time', async () => {
  const draft = await forms.begin('optimised', 100);
  writeFileSync(join(draft.folder, 'graph.onnx'), 'not a graph');
  await draft.publish({});
  const { model, kind } = await load([TEXT_RECOGNISER]);
  expect(kind).toBe('optimised');
  expectClose(await answer(model), await answer(await bench.load([TEXT_RECOGNISER])));
  // Made anew behind the answer.
  expect(statSync(await published('optimised')).size).toBeGreaterThan(1_000);
}, 60_000);

test('a model of 64 MB is served with less than a fifth of its size in memory of its own, and an inline load is not needed', async () => {
  const files = bench.write('m.onnx', chainOfSize(64e6));
  const before = anonymousBytes();
  const { model, kind } = await load(files);
  await model.infer(callWith([floats('x', [1, 1024])]));
  expect(kind).toBe('external');
  expect(anonymousBytes() - before).toBeLessThan(0.2 * 64e6 + 16e6);
});

test('prepacked weights that end the process when they are loaded are found out in a process of their own, once', async () => {
  const { outcome } = await makeOptimised([TEXT_RECOGNISER]);
  expect(outcome).toMatchObject({ outcome: 'made', prepack: 'later' });
  const optimised = await usable(forms, 'optimised');
  const draft = await forms.begin('prepacked', 1);
  const job = {
    kind: 'prepacked' as const,
    folder: draft.folder,
    sizeBytes: 11e6,
    source: { kind: 'optimised' as const, graphPath: optimised?.graphPath ?? '', isMapped: true },
  };
  expect((await new CompileProcess(job).outcome).outcome).toBe('crashed');
  await optimised?.release();
  const told: string[] = [];
  const options = {
    forms,
    start: plainStart({ modelPath: TEXT_RECOGNISER, files: [TEXT_RECOGNISER], sizeBytes: 11e6 }),
    // Large enough to be thought of.
    sizeBytes: 40e6,
    freeBytes: () => 4e9,
    onNotCompiled: (reason: string) => told.push(reason),
  };
  expect((await new Settling(options).settle())?.kind).toBe('optimised');
  expect(told).toEqual([expect.stringMatching(/^prepacked: .*SIG/)]);
  expect((await new Settling(options).settle())?.kind).toBe('optimised');
  expect(told).toHaveLength(1);
}, 60_000);

test('of several processes that see a model at once one makes the form, the others wait for it', async () => {
  const files = bench.write('m.onnx', chainOfSize(2e6));
  const found = await start(files);
  const settlings = Array.from(
    { length: 3 },
    () =>
      new Settling({
        forms,
        start: found,
        sizeBytes: 2e6,
        freeBytes: () => 4e9,
        onNotCompiled: (reason) => left.push(reason),
      }),
  );
  const settled = await Promise.all(settlings.map((settling) => settling.settle()));
  expect(settled.map((one) => one?.kind)).toEqual(['optimised', 'optimised', 'optimised']);
  expect(new Set(settled.map((one) => one?.graphPath)).size).toBe(1);
  expect(readdirSync(join(cacheDir, 'forms/drafts'))).toEqual([]);
  expect(left).toEqual([]);
}, 60_000);

test('compiling that is given up leaves nothing, and so does one that there is no memory or no room for', async () => {
  const files = bench.write('m.onnx', chainOfSize(8e6));
  const found = await start(files);
  const options = {
    forms,
    start: found,
    sizeBytes: 8e6,
    freeBytes: () => 4e9,
    onNotCompiled: (reason: string) => left.push(reason),
  };
  const stopped = new Settling(options);
  const settling = stopped.settle();
  await vi.waitUntil(() => readdirSync(join(cacheDir, 'forms/drafts')).length > 0);
  await stopped.stop();
  expect(await settling).toBeUndefined();
  expect(await new Settling({ ...options, freeBytes: () => 1e6 }).settle()).toBeUndefined();
  const small = new ModelForms({ cacheDir, cacheBytes: 9e6 }, 'model');
  expect(await new Settling({ ...options, forms: small }).settle()).toBeUndefined();
  expect(left).toEqual([
    expect.stringMatching(/about 104 MB of memory, and 1 MB are free/),
    expect.stringMatching(/no room for another form of a model: it needs 9600000 bytes/),
  ]);
  expect(readdirSync(join(cacheDir, 'forms/drafts'))).toEqual([]);
  // In use: not evicted for want of room.
  expect(existsSync(found.graphPath)).toBe(true);
}, 30_000);

test('what was used longest ago makes room, and what somebody uses does not', async () => {
  const add = async (key: string): Promise<void> => {
    const draft = await new ModelForms({ cacheDir, cacheBytes: 3_500 }, key).begin('optimised', 1_000);
    writeFileSync(join(draft.folder, 'graph.onnx'), Buffer.alloc(1_000));
    await draft.publish({});
  };
  const find = (key: string) => new ModelForms({ cacheDir, cacheBytes: 3_500 }, key).find('optimised');
  for (const key of ['a', 'b', 'c']) await add(key);
  const a = await find('a');
  await (await find('b'))?.release();
  await add('d');
  const there = await Promise.all(
    ['a', 'b', 'c', 'd'].map(async (key) => {
      const form = await find(key);
      await form?.release();
      return form !== undefined;
    }),
  );
  // c was used longest ago of those that nobody uses; a is leased.
  expect(there).toEqual([true, true, false, true]);
  await a?.release();
});

async function makeOptimised(files: readonly string[]) {
  const draft = await forms.begin('optimised', 1);
  const source = { kind: 'plain' as const, graphPath: files[0] ?? '', isMapped: false };
  const job = { kind: 'optimised' as const, folder: draft.folder, sizeBytes: sizeOf(files), source };
  const outcome = await new CompileProcess(job).outcome;
  await draft.publish({ prepackLater: true });
  return { outcome };
}
