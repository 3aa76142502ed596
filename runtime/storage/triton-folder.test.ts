import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { type OpenModelOptions, openModel } from './open-model.ts';
import { SILERO_PATH } from './test-models.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'pilotlight-triton-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const silero = await readFile(SILERO_PATH);

/** Models where nothing else is said. */
async function lay(files: Record<string, string>): Promise<void> {
  for (const [path, text] of Object.entries(files)) {
    await mkdir(dirname(join(folder, path)), { recursive: true });
    await writeFile(join(folder, path), path.endsWith('.onnx') ? silero : text);
  }
}

const open = (more: Partial<OpenModelOptions> = {}) =>
  openModel({ uri: pathToFileURL(folder).href, cacheDir: join(folder, '.cache'), ...more });
const chosen = async (more: Partial<OpenModelOptions> = {}): Promise<string> =>
  (await open(more)).modelPath.slice(folder.length + 1);

test('the latest versions are allowed unless a policy says otherwise, and the highest is taken', async () => {
  await lay({ 'config.pbtxt': '', '1/model.onnx': '', '2/model.onnx': '', '10/model.onnx': '' });
  expect(await chosen()).toBe('10/model.onnx');
  await expect(chosen({ version: '2' })).rejects.toMatchObject({
    code: 'model-not-found',
    message: expect.stringContaining('allows the latest 1, and version 2 is wanted; found versions'),
  });
  await lay({ 'config.pbtxt': 'version_policy { latest { num_versions: 2 } }' });
  expect(await chosen({ version: '2' })).toBe('2/model.onnx');
});

test('the file in a version’s folder may have another name', async () => {
  await lay({ 'm/config.pbtxt': 'default_model_filename: "b.onnx"', 'm/1/a.onnx': '', 'm/1/b.onnx': '' });
  expect(await chosen()).toBe('m/1/b.onnx');
});

test('a model beside its configuration is a folder of one version', async () => {
  await lay({ 'config.pbtxt': 'max_batch_size: 2', 'model.onnx': '' });
  expect(await chosen()).toBe('model.onnx');
});

test('a configuration goes with the model and counts for nothing in it; one that changed is another model', async () => {
  await lay({ 'config.pbtxt': 'max_batch_size: 2', '1/model.onnx': '' });
  const model = await open();
  expect(model.files).toEqual([join(folder, '1/model.onnx')]);
  expect(model.sizeBytes).toBe(silero.length);
  expect(model.companions).toEqual([
    { path: join(folder, 'config.pbtxt'), sha256: expect.stringMatching(/^[0-9a-f]{64}$/) },
  ]);
  const { identity } = model;
  expect(await open({ identity })).toMatchObject({ identity, companions: model.companions });
  await lay({ 'config.pbtxt': 'max_batch_size: 16' });
  await expect(open({ identity })).rejects.toMatchObject({ code: 'model-changed' });
});

test('what a warm-up reads goes with the model too', async () => {
  const input = '{ key: "x" value { data_type: TYPE_FP32 dims: 2 input_data_file: "x.bin" } }';
  await lay({ 'm/config.pbtxt': `model_warmup { name: "a" inputs ${input} }`, 'm/1/model.onnx': '' });
  await expect(open()).rejects.toMatchObject({
    code: 'model-not-found',
    message: expect.stringContaining('holds no warmup/x.bin, which model_warmup of config.pbtxt names'),
  });
  await lay({ 'm/warmup/x.bin': '12345678' });
  const { identity, companions } = await open();
  expect(companions.map(({ path }) => path.slice(folder.length + 1))).toEqual([
    'm/config.pbtxt',
    'm/warmup/x.bin',
  ]);
  expect(await open({ identity })).toMatchObject({ companions });
});

test('what a service names beside its model is found in the folder of the model, too', async () => {
  await lay({ 'm/config.pbtxt': '', 'm/1/model.onnx': '', 'm/labels.txt': 'cat', 'labels.txt': 'other' });
  const { companions } = await open({ companions: [{ path: 'labels.txt' }] });
  expect(companions[0]?.path).toBe(join(folder, 'm/labels.txt'));
});

test('a configuration that is unreasonably large is not read', async () => {
  await lay({ 'config.pbtxt': '#'.repeat(1024 ** 2 + 1), '1/model.onnx': '' });
  await expect(open()).rejects.toMatchObject({
    code: 'model-layout',
    message: expect.stringContaining('1048576 bytes'),
  });
});

test('models without a configuration beside one that has it are several models', async () => {
  await lay({ 'a/config.pbtxt': '', 'a/1/model.onnx': '', 'b/1/model.onnx': '' });
  await expect(open()).rejects.toMatchObject({ message: expect.stringContaining('several models (a/, b/)') });
});
