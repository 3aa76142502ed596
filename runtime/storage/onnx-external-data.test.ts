import { readFileSync } from 'node:fs';
import { mkdtemp, readdir, rm, stat, truncate } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { InferenceSession } from 'onnxruntime-node';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { externalFilesOf } from './external-files.ts';
import { readExternalData } from './onnx-external-data.ts';
import { field, modelWithExternalData, OCR_PATH, paddedModel, SILERO_PATH } from './test-models.ts';

let bytesRead = 0;
const walk = (bytes: Uint8Array) => {
  bytesRead = 0;
  return readExternalData(
    {
      sizeBytes: bytes.length,
      read: async (offset, length) => {
        expect(offset + length).toBeLessThanOrEqual(bytes.length);
        bytesRead += length;
        return bytes.subarray(offset, offset + length);
      },
    },
    'the file',
  );
};

describe('real networks', () => {
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'pilotlight-onnx-'));
  });
  afterAll(async () => {
    await rm(folder, { recursive: true, force: true });
  });

  test.each([SILERO_PATH, OCR_PATH])('%s has no external data', async (path) => {
    expect(await externalFilesOf(path, 'model.onnx', 'it')).toEqual([]);
  });

  test('the weights file that ONNX Runtime itself writes is found, with the size that the tensors need', async () => {
    const saved = join(folder, 'saved.onnx');
    const session = await InferenceSession.create(OCR_PATH, {
      graphOptimizationLevel: 'basic',
      optimizedModelFilePath: saved,
      extra: { session: { optimized_model_external_initializers_file_name: 'saved.weights' } },
    });
    await session.release();
    expect((await readdir(folder)).sort()).toEqual(['saved.onnx', 'saved.weights']);
    const [external, ...more] = await externalFilesOf(saved, '3/saved.onnx', 'it');
    expect(more).toEqual([]);
    expect(external?.location).toBe('3/saved.weights');
    const { size } = await stat(join(folder, 'saved.weights'));
    expect(external?.requiredBytes).toBeLessThanOrEqual(size);
    expect(external?.requiredBytes).toBeGreaterThan(size - 4096);
  });

  test('a file cut short anywhere is recognised', async () => {
    const whole = readFileSync(SILERO_PATH);
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 1, max: whole.length - 1 }), async (length) => {
        await expect(walk(whole.subarray(0, length))).rejects.toMatchObject({ code: 'model-not-onnx' });
      }),
      { numRuns: 200 },
    );
  });

  test('tensor bytes are skipped, not read', async () => {
    expect(await walk(paddedModel(30 * 1024 ** 2))).toEqual([]);
    expect(bytesRead).toBeLessThan(4 * 1024 ** 2);
  });

  test('a file that shrinks while it is looked at is an error, not a hang', async () => {
    const path = join(folder, 'short.onnx');
    await import('node:fs/promises').then(({ copyFile }) => copyFile(SILERO_PATH, path));
    await truncate(path, 1000);
    await expect(externalFilesOf(path, 'short.onnx', 'it')).rejects.toThrow('cut short');
  });
});

describe('external data', () => {
  test('is listed once per file, with the furthest byte that a tensor reaches', async () => {
    expect(await walk(modelWithExternalData({ location: 'w.bin', offset: '4096', length: '16' }))).toEqual([
      { location: 'w.bin', requiredBytes: 4112 },
    ]);
    expect(await walk(modelWithExternalData({ location: './sub/w.bin' }))).toEqual([
      { location: 'sub/w.bin', requiredBytes: 0 },
    ]);
  });

  test('is found in attributes, subgraphs, sparse tensors, functions and training graphs as well', async () => {
    const entries = field(13, Buffer.concat([field(1, 'location'), field(2, 'deep.bin')]));
    const tensor = entries;
    const places = [
      field(7, field(1, field(5, field(5, tensor)))),
      field(7, field(1, field(5, field(10, tensor)))),
      field(7, field(1, field(5, field(6, field(5, tensor))))),
      field(7, field(1, field(5, field(11, field(15, field(1, tensor)))))),
      field(7, field(1, field(5, field(22, field(2, tensor))))),
      field(25, field(7, field(5, field(5, tensor)))),
      field(20, field(2, field(5, tensor))),
    ];
    for (const place of places) {
      const model = Buffer.concat([field(1, 8), field(7, ''), field(8, ''), place]);
      expect(await walk(model)).toEqual([{ location: 'deep.bin', requiredBytes: 0 }]);
    }
  });

  test.each(['../w.bin', '/etc/passwd', 'a/../../b', 'C:\\w.bin', 'a\\b', 'a\0b', '', 'a//b', 'sub/..'])(
    'that leaves the folder is refused: %j',
    async (location) => {
      await expect(walk(modelWithExternalData({ location }))).rejects.toMatchObject({ code: 'model-layout' });
    },
  );

  test("that names ONNX Runtime's own memory is refused", async () => {
    await expect(
      walk(modelWithExternalData({ location: '*/_ORT_MEM_ADDR_/*', offset: '140000000000', length: '64' })),
    ).rejects.toThrow('refers to memory');
  });

  test.each(['-1', '1e9', '99999999999999999999', 'x'])('with the offset %s is refused', async (offset) => {
    await expect(walk(modelWithExternalData({ location: 'w.bin', offset }))).rejects.toMatchObject({
      code: 'model-layout',
    });
  });
});

describe('what is no ONNX file', () => {
  test.each<[string, Buffer | string]>([
    ['an HTML page', '<!DOCTYPE html><html><body>Sign in</body></html>'],
    ['a Git LFS pointer', 'version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n'],
    ['a Python pickle', Buffer.from([0x80, 4, 0x95, 0, 0, 0])],
    ['a zip archive (or a PyTorch checkpoint)', 'PK\u0003\u0004rest'],
    ['gzip data', Buffer.from([0x1f, 0x8b, 8, 0])],
    ['XML', '<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>'],
    ['JSON', '{"error": "not found"}'],
    ['a safetensors file', Buffer.concat([Buffer.from([40, 0, 0, 0, 0, 0, 0, 0]), Buffer.from('{"w":{}}')])],
    ['an empty file', ''],
    ['no graph', Buffer.concat([field(1, 8), field(2, 'pytorch')])],
    ['no ir_version', field(7, '')],
    ['no opset_import', Buffer.concat([field(1, 8), field(7, '')])],
  ])('is named: %s', async (name, content) => {
    await expect(walk(Buffer.from(content))).rejects.toMatchObject({
      code: 'model-not-onnx',
      message: expect.stringContaining(name),
    });
  });

  test('any bytes at all give an answer or one of our errors', async () => {
    const codes = ['model-not-onnx', 'model-layout'];
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 300 }), async (bytes) => {
        await walk(bytes).catch((error: { code?: unknown }) => expect(codes).toContain(error.code));
      }),
      { numRuns: 500 },
    );
  });

  test('graphs nested without end are refused', async () => {
    let graph = field(5, '');
    for (let depth = 0; depth < 100; depth += 1) graph = field(1, field(5, field(6, graph)));
    await expect(walk(Buffer.concat([field(1, 8), field(7, graph)]))).rejects.toThrow('nested deeper');
  });
});
