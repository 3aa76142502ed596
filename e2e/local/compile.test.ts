import { createHash } from 'node:crypto';
import { copyFileSync, existsSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { cp, mkdtemp, readdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { type CompileResult, compileResultSchema } from '../../contracts/model-tools.ts';
import { engineKey } from '../../runtime/engine/engine-key.ts';
import { ModelForms } from '../../runtime/engine/model-forms.ts';
import type { CompiledIndex } from '../../runtime/storage/compiled-index.ts';
import { openModelOrForm } from '../../runtime/storage/open-model.ts';
import { chainOfSize, unsupportedOperator } from '../models/onnx-models.ts';
import { encodeOnnx, writeOnnxFile } from '../models/onnx-writer.ts';
import { RecordingProxy } from '../storage/recording-proxy.ts';
import { ACCESS_KEY, SECRET_KEY, Versitygw, versitygwMissing } from '../storage/versitygw.ts';
import { pilotlight } from './testing/command.ts';
import { type RuntimeProcess, startRuntime } from './testing/runtime-process.ts';

const WIDTH = 1024;
const missing = await versitygwMissing();

let folder: string;
let runtimes: RuntimeProcess[];
let expected: readonly number[];
let modelPath: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'pilotlight-compile-'));
  modelPath = writeOnnxFile(join(folder, 'original.onnx'), chainOfSize(8e6), { external: false })[0] ?? '';
  runtimes = [];
  expected = await answerOf(await serve(modelPath, await cache()));
  await stopAll();
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));
beforeEach(() => {
  runtimes = [];
});
afterEach(async () => {
  await stopAll();
  vi.unstubAllEnvs();
});

async function stopAll(): Promise<void> {
  await Promise.all(runtimes.splice(0).map((runtime) => runtime.stop()));
}

const cache = (): Promise<string> => mkdtemp(join(folder, 'cache-'));

async function serve(uri: string, cacheDir: string): Promise<RuntimeProcess> {
  const runtime = await startRuntime(uri, cacheDir, '--name', 'm');
  runtimes.push(runtime);
  return runtime;
}

async function answerOf({ port }: RuntimeProcess): Promise<readonly number[]> {
  const data = Array.from({ length: WIDTH }, (_, index) => Math.sin(index));
  const inputs = [{ name: 'x', datatype: 'FP32', shape: [1, WIDTH], data }];
  const answer = await fetch(`http://127.0.0.1:${port}/v2/models/m/infer`, {
    method: 'POST',
    body: JSON.stringify({ inputs }),
  });
  const { outputs } = (await answer.json()) as { outputs: { data: number[] }[] };
  return outputs[0]?.data ?? [];
}

async function expectRightAnswer(runtime: RuntimeProcess): Promise<void> {
  const found = await answerOf(runtime);
  expect(found).toHaveLength(WIDTH);
  expect(
    Math.max(...found.map((value, index) => Math.abs(value - (expected[index] ?? Number.NaN)))),
  ).toBeLessThan(1e-4);
}

/** Facts of the forms in a cache of models. */
async function formsIn(cacheDir: string): Promise<Record<string, boolean>[]> {
  const entries = join(cacheDir, 'forms/entries');
  const names = await readdir(entries).catch(() => []);
  return names.map((name) => {
    const manifest = JSON.parse(readFileSync(join(entries, name, 'manifest.json'), 'utf8')) as {
      facts: Record<string, boolean>;
    };
    return manifest.facts;
  });
}

async function compiled(args: readonly string[]): Promise<CompileResult & { outcome: 'compiled' }> {
  const { code, out, err } = await pilotlight(['compile', ...args, '--cache-dir', await cache(), '--json']);
  expect(code, err).toBe(0);
  const result = compileResultSchema.parse(JSON.parse(out));
  if (result.outcome !== 'compiled') throw new Error(out);
  return result;
}

function readIndex(path: string): CompiledIndex {
  return JSON.parse(readFileSync(path, 'utf8')) as CompiledIndex;
}

describe('a model in a folder of this machine', () => {
  test('compiled beside itself it is started from that form, and the same command again writes nothing', async () => {
    const home = await mkdtemp(join(folder, 'models-'));
    copyFileSync(modelPath, join(home, 'model.onnx'));
    const first = await compiled([home]);
    expect(first).toMatchObject({ isNew: true, kind: 'optimised', copiedOriginal: false });
    expect(existsSync(join(home, '.pilotlight/model.onnx.json'))).toBe(true);
    const { mtimeMs } = statSync(join(home, '.pilotlight/model.onnx.json'));
    expect(await compiled([join(home, 'model.onnx')])).toMatchObject({ isNew: false });
    expect(statSync(join(home, '.pilotlight/model.onnx.json')).mtimeMs).toBe(mtimeMs);
    const cacheDir = await cache();
    const runtime = await serve(home, cacheDir);
    expect(await formsIn(cacheDir)).toContainEqual(expect.objectContaining({ ahead: true }));
    await expectRightAnswer(runtime);
  });

  test('--to brings the model and its form into a folder, and it fits there though the times of change are others', async () => {
    const image = join(await mkdtemp(join(folder, 'image-')), 'models/m');
    expect(await compiled([modelPath, '--to', image])).toMatchObject({ copiedOriginal: true });
    const copy = await mkdtemp(join(folder, 'copied-'));
    const { forms } = readIndex(join(image, '.pilotlight/original.onnx.json'));
    expect(forms).toHaveLength(1);
    copyFileSync(join(image, 'original.onnx'), join(copy, 'original.onnx'));
    await cp(join(image, '.pilotlight'), join(copy, '.pilotlight'), { recursive: true });
    const cacheDir = await cache();
    await expectRightAnswer(await serve(copy, cacheDir));
    expect(await formsIn(cacheDir)).toContainEqual(expect.objectContaining({ ahead: true }));
  });

  test.each<[string, (index: CompiledIndex) => void, RegExp]>([
    [
      'another ONNX Runtime',
      (index) => void Object.assign(index.forms[0]?.engine ?? {}, { onnxRuntime: '1.0.0' }),
      /ONNX Runtime differs: compiled with 1\.0\.0, here 1\./,
    ],
    [
      'another processor',
      (index) => void Object.assign(index.forms[0]?.engine ?? {}, { cpu: 'x64 avx1024' }),
      /CPU features differ: the form's machine has avx1024/,
    ],
    [
      'another model',
      (index) => void Object.assign(index.forms[0]?.original[0] ?? {}, { sizeBytes: 7 }),
      /original differs/,
    ],
  ])(
    'a form of %s is left alone, the log says why, and the request is answered',
    async (_what, change, why) => {
      const home = await mkdtemp(join(folder, 'models-'));
      copyFileSync(modelPath, join(home, 'model.onnx'));
      await compiled([home]);
      const path = join(home, '.pilotlight/model.onnx.json');
      const index = readIndex(path);
      change(index);
      writeFileSync(path, JSON.stringify(index));
      const runtime = await serve(home, await cache());
      await expectRightAnswer(runtime);
      expect(runtime.said()).toMatch(why);
    },
  );

  test('a form whose bytes are not those of its index is refused, and the request is answered', async () => {
    const home = await mkdtemp(join(folder, 'models-'));
    copyFileSync(modelPath, join(home, 'model.onnx'));
    await compiled([home]);
    const [form] = readIndex(join(home, '.pilotlight/model.onnx.json')).forms;
    const weights = join(home, '.pilotlight/model.onnx', form?.id ?? '', 'weights.bin');
    const bytes = readFileSync(weights);
    bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] ?? 0) ^ 1;
    writeFileSync(weights, bytes);
    const cacheDir = await cache();
    const runtime = await serve(home, cacheDir);
    await expectRightAnswer(runtime);
    expect(runtime.said()).toMatch(/weights\.bin has the sha256 [0-9a-f]{64}; its index says/);
    expect(await formsIn(cacheDir)).not.toContainEqual(expect.objectContaining({ ahead: true }));
  });
});

test('a small model needs no form, a folder that can’t be had is said in words, and a store that is read only is refused before anything is fetched', async () => {
  const small = writeOnnxFile(join(folder, 'small.onnx'), chainOfSize(1e3), { external: false })[0] ?? '';
  expect(await pilotlight(['compile', small])).toMatchObject({
    code: 0,
    out: expect.stringContaining('nothing to compile'),
  });
  expect(await pilotlight(['compile', join(folder, 'nowhere')])).toMatchObject({
    code: 1,
    err: expect.stringContaining('does not exist'),
  });
  expect(await pilotlight(['compile', 'https://127.0.0.1:1/m.onnx'])).toMatchObject({
    code: 1,
    err: expect.stringContaining('--to FOLDER'),
  });
});

if (missing !== undefined)
  test.skip(`compiled models in S3 were not tested at all: ${missing}`, () => undefined);

describe.skipIf(missing !== undefined)('a model in a real S3 server (versitygw)', () => {
  let server: Versitygw;
  let proxy: RecordingProxy;
  let bucket = 0;

  beforeAll(async () => {
    server = await Versitygw.start(await mkdtemp(join(folder, 's3-')));
    proxy = await RecordingProxy.start(server.endpoint);
  }, 10 * 60_000);
  afterAll(async () => {
    await proxy?.stop();
    await server?.stop();
  });

  /** A bucket with the model, compiled; its URI. */
  async function compiledModel(): Promise<{
    name: string;
    uri: string;
    result: CompileResult & { outcome: 'compiled' };
  }> {
    vi.stubEnv('AWS_ACCESS_KEY_ID', ACCESS_KEY);
    vi.stubEnv('AWS_SECRET_ACCESS_KEY', SECRET_KEY);
    vi.stubEnv('AWS_ENDPOINT_URL', proxy.endpoint);
    const name = `models-${(bucket += 1)}`;
    await server.createBucket(name);
    await server.putObject(name, 'm/model.onnx', new Uint8Array(readFileSync(modelPath)));
    const uri = `s3://${name}/m`;
    const result = await compiled([uri]);
    proxy.seen.length = 0;
    return { name, uri, result };
  }

  const fetched = (name: string): string[] =>
    proxy.seen
      .filter(({ path }) => path.startsWith(`/${name}/m/`))
      .map(({ path }) => path.replace(/\?.*/, ''));

  test('a runtime that never saw it fetches the compiled form and nothing of the original; the next start only asks which form there is', async () => {
    const { name, uri, result } = await compiledModel();
    expect(result.place).toMatch(new RegExp(`^s3://${name}/m/\\.pilotlight/model\\.onnx/[0-9a-f]{16}$`));
    const cacheDir = await cache();
    const runtime = await serve(uri, cacheDir);
    await expectRightAnswer(runtime);
    expect(new Set(fetched(name).map((path) => path.split('/').at(-1)))).toEqual(
      new Set(['model.onnx.json', 'graph.onnx', 'weights.bin']),
    );
    expect(await readdir(join(cacheDir, 'entries')).catch(() => [])).toEqual([]);
    await runtime.stop();
    proxy.seen.length = 0;
    await expectRightAnswer(await serve(uri, cacheDir));
    expect(fetched(name).map((path) => path.split('/').at(-1))).toEqual(['model.onnx.json']);
  });

  test('a claim that knows the identity of the original finds the form in the cache and asks nobody, and gets the original where it must', async () => {
    const { name, uri } = await compiledModel();
    const cacheDir = await cache();
    const wish = {
      engine: engineKey(),
      forms: (contentKey: string) => new ModelForms({ cacheDir, cacheBytes: 10e9 }, contentKey),
      onIgnored: (reason: string) => void expect.unreachable(reason),
    };
    const first = await openModelOrForm({ uri, cacheDir }, wish);
    if (first.kind !== 'compiled') throw new Error('expected the form');
    expect(first.compiled).toMatchObject({ fromCache: false, sizeBytes: statSync(modelPath).size });
    proxy.seen.length = 0;
    const known = { uri, cacheDir, identity: first.compiled.identity };
    const second = await openModelOrForm(known, wish);
    expect(second).toMatchObject({ kind: 'compiled', compiled: { fromCache: true } });
    expect(proxy.seen).toEqual([]);
    const original = await first.compiled.original();
    expect(readFileSync(original.modelPath).equals(readFileSync(modelPath))).toBe(true);
    await original.release();
    // With the digest of the original pinned, the original is what is wanted.
    const sha256 = createHash('sha256').update(readFileSync(modelPath)).digest('hex');
    const pinned = await openModelOrForm(
      { uri: `s3://${name}/m/model.onnx`, cacheDir: await cache(), sha256 },
      wish,
    );
    expect(pinned.kind).toBe('model');
  });

  test('a form in the cache that is damaged is thrown away and brought again', async () => {
    const { name, uri } = await compiledModel();
    const cacheDir = await cache();
    const runtime = await serve(uri, cacheDir);
    await runtime.stop();
    proxy.seen.length = 0;
    const entries = join(cacheDir, 'forms/entries');
    const [key = ''] = await readdir(entries);
    writeFileSync(
      join(entries, key, 'weights.bin'),
      Buffer.alloc(statSync(join(entries, key, 'weights.bin')).size),
    );
    await expectRightAnswer(await serve(uri, cacheDir));
    expect(fetched(name)).toContainEqual(expect.stringContaining('weights.bin'));
    expect(fetched(name)).not.toContainEqual(`/${name}/m/model.onnx`);
  });

  test.each([
    ['of other bytes than its index says', 'weights.bin'],
    ['whose graph is another', 'graph.onnx'],
  ])('a form %s never runs: the original is fetched, and the log says so', async (_what, file) => {
    const { name, uri, result } = await compiledModel();
    const key = `${result.place.replace(`s3://${name}/`, '')}/${file}`;
    const size = 8e6;
    await server.putObject(name, key, new Uint8Array(size));
    const runtime = await serve(uri, await cache());
    await expectRightAnswer(runtime);
    expect(fetched(name)).toContain(`/${name}/m/model.onnx`);
    expect(runtime.said()).toContain('the form compiled ahead of time is not used');
  });

  test('a form that ONNX Runtime refuses, its digests as they should be, costs the request nothing but time', async () => {
    const { name, uri } = await compiledModel();
    const graph = encodeOnnx(unsupportedOperator());
    const path = 'm/.pilotlight/model.onnx.json';
    const cacheDir = await cache();
    const index = readIndex(join(server.objects, name, path));
    const [form] = index.forms;
    if (form === undefined) throw new Error('the index is empty');
    form.files = [
      {
        path: 'graph.onnx',
        sizeBytes: graph.length,
        sha256: createHash('sha256').update(graph).digest('hex'),
      },
    ];
    await server.putObject(name, path, new TextEncoder().encode(JSON.stringify(index)));
    await server.putObject(name, `m/.pilotlight/model.onnx/${form.id}/graph.onnx`, new Uint8Array(graph));
    const runtime = await serve(uri, cacheDir);
    await expectRightAnswer(runtime);
    expect(fetched(name)).toContain(`/${name}/m/model.onnx`);
  });
});
