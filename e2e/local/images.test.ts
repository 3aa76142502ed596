import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type OnnxModel, writeOnnxFile } from '../models/onnx-writer.ts';
import { modelManifest } from './testing/manifests.ts';
import { TestPlatform } from './testing/platform.ts';
import { type RuntimeProcess, startRuntime } from './testing/runtime-process.ts';
import { waitFor } from './testing/wait-for.ts';

/** A classifier of colours: the mean of each channel is the score of red, green and blue. */
const COLOURS: OnnxModel = {
  inputs: [{ name: 'picture', type: 'FLOAT', shape: ['batch', 3, 8, 8] }],
  outputs: [{ name: 'scores', type: 'FLOAT', shape: ['batch', 3] }],
  nodes: [
    { op: 'GlobalAveragePool', inputs: ['picture'], outputs: ['means'] },
    { op: 'Flatten', inputs: ['means'], outputs: ['scores'] },
  ],
};

let folder: string;
let path: string;
let runtime: RuntimeProcess;
let url: string;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'images-'));
  path = join(folder, 'colours');
  mkdirSync(path);
  writeOnnxFile(join(path, 'model.onnx'), COLOURS);
  writeFileSync(join(path, 'labels.txt'), 'red\ngreen\nblue\n');
  runtime = await startRuntime(
    path,
    join(folder, 'cache'),
    '--image-input',
    '{"fit":"cover","maxPixels":1000000}',
    '--labels',
    'labels.txt',
    '--labels-top',
    '2',
  );
  url = `http://127.0.0.1:${runtime.port}`;
});
afterAll(async () => {
  await runtime.stop();
  rmSync(folder, { recursive: true, force: true });
});

const picture = (background: string, width = 20, height = 10) =>
  sharp({ create: { width, height, channels: 3, background } });

const post = (
  body: Uint8Array | string,
  contentType: string,
  path_ = '/v2/models/colours/infer',
): Promise<Response> =>
  fetch(url + path_, {
    method: 'POST',
    body: new Blob([new Uint8Array(Buffer.from(body))]),
    headers: { 'content-type': contentType },
  });

async function refused(
  body: Uint8Array | string,
  contentType: string,
): Promise<[number, string | null, string]> {
  const answer = await post(body, contentType);
  const { error } = (await answer.json()) as { error: string };
  return [answer.status, answer.headers.get('pilotlight-error'), error];
}

describe('a picture as a request', () => {
  test.each([
    ['image/png', () => picture('#00ff00').png()],
    ['image/jpeg', () => picture('#00ff00').jpeg({ quality: 100 })],
  ])('of type %s is named', async (contentType, make) => {
    const answer = await post(await make().toBuffer(), contentType);
    const { outputs } = (await answer.json()) as {
      outputs: { name: string; shape: number[]; data: unknown[] }[];
    };
    expect(outputs.map(({ name, shape }) => [name, shape])).toEqual([
      ['label', [1, 2]],
      ['score', [1, 2]],
    ]);
    expect(outputs[0]?.data[0]).toBe('green');
    expect(Number(outputs[1]?.data[0])).toBeGreaterThan(0.5);
  });

  test('is answered over V1 as one prediction', async () => {
    const answer = await post(
      await picture('#0000ff').png().toBuffer(),
      'image/png',
      '/v1/models/colours:predict',
    );
    const { predictions } = (await answer.json()) as { predictions: { label: string[] }[] };
    expect(predictions.map(({ label }) => label[0])).toEqual(['blue']);
  });

  test('is turned upright before the middle of it is cut out', async () => {
    // As it lies: a red left half and a blue right one, 16x8. Upright by EXIF 6 it is 8x16, red at the top.
    const halves = await picture('#ff0000', 16, 8)
      .composite([{ input: await picture('#0000ff', 8, 8).png().toBuffer(), left: 8, top: 0 }])
      .withMetadata({ orientation: 6 })
      .png()
      .toBuffer();
    const answer = await post(halves, 'image/png');
    const { outputs } = (await answer.json()) as { outputs: { data: unknown[] }[] };
    // The middle of either is half red, half blue; without green.
    expect(outputs[0]?.data.toSorted()).toEqual(['blue', 'red']);
  });

  test('that is none, or another one than is said, is refused', async () => {
    const png = await picture('#ff0000').png().toBuffer();
    expect(await refused('hello', 'image/png')).toEqual([
      400,
      'invalid-request',
      expect.stringContaining('is no PNG'),
    ]);
    expect(await refused(png, 'image/jpeg')).toEqual([
      400,
      'invalid-request',
      expect.stringContaining('is no JPEG'),
    ]);
    expect(await refused(png.subarray(0, png.length - 20), 'image/png')).toEqual([
      400,
      'invalid-request',
      expect.any(String),
    ]);
    expect(await refused('<svg/>', 'image/svg+xml')).toEqual([
      415,
      'unsupported-media-type',
      expect.stringContaining('takes image/jpeg and image/png'),
    ]);
  });

  test('that would unfold to a billion pixels is refused by its header', async () => {
    expect(await refused(bomb(), 'image/png')).toEqual([
      413,
      'body-too-large',
      expect.stringContaining('more than the 1000000 pixels allowed'),
    ]);
  });

  test('many at once are all answered', async () => {
    const png = await picture('#ff0000', 400, 300).png().toBuffer();
    const answers = await Promise.all(Array.from({ length: 12 }, () => post(png, 'image/png')));
    expect(answers.map(({ status }) => status)).toEqual(Array(12).fill(200));
  });
});

test('tensors are taken as before, and their answers named as well', async () => {
  const data = Array.from({ length: 3 * 64 }, (_, index) => (index < 64 ? 1 : 0));
  const request = {
    inputs: [{ name: 'picture', datatype: 'FP32', shape: [1, 3, 8, 8], data }],
    outputs: [{ name: 'label' }],
  };
  const answer = await post(JSON.stringify(request), 'application/json');
  expect(((await answer.json()) as { outputs: object[] }).outputs).toEqual([
    { name: 'label', datatype: 'BYTES', shape: [1, 2], data: ['red', expect.any(String)] },
  ]);
  const metadata = (await (await fetch(`${url}/v2/models/colours`)).json()) as {
    outputs: { name: string }[];
  };
  expect(metadata.outputs.map(({ name }) => name)).toEqual(['label', 'score']);
});

test('a service of the platform takes images by its manifest, and its process is used again', async () => {
  const model = {
    imageInput: { fit: 'contain', padding: 128 },
    labels: { file: 'labels.txt', top: 1, keepScores: true },
  };
  const platform = await TestPlatform.start({
    manifests: { 'colours.json': modelManifest('colours', path, { model, scaling: { initialScale: 0 } }) },
  });
  try {
    await platform.waitForStandbys(1);
    const answer = await fetch(`${platform.url}/v1/models/colours:predict`, {
      method: 'POST',
      body: new Blob([new Uint8Array(await picture('#ff0000', 8, 8).png().toBuffer())]),
      headers: { 'content-type': 'image/png' },
    });
    expect(await answer.json()).toEqual({ predictions: [{ label: ['red'], score: [1], scores: [1, 0, 0] }] });
    const [serving] = await platform.replicas('colours');
    await platform.waitForZero('colours');
    await waitFor('the standby is recycled', async () =>
      (await platform.replicas()).some(({ pid, state }) => pid === serving?.pid && state === 'standby'),
    );
  } finally {
    await platform.stop();
  }
});

test('settings that don’t go with the model keep it from being served, with what to do', async () => {
  const wrong = (...more: string[]) => startRuntime(path, join(folder, 'cache'), ...more);
  await expect(wrong('--image-input', '{"input":"x"}')).rejects.toThrow(
    /has no input 'x'; it takes 'picture'/,
  );
  await expect(wrong('--image-input', '{"width":9}')).rejects.toThrow(/width of 8.*asks for 9/);
  writeFileSync(join(path, 'two.txt'), 'red\ngreen\n');
  await expect(wrong('--labels', 'two.txt')).rejects.toThrow(
    /two\.txt has 2 lines, and output 'scores' has 3 classes/,
  );
  await expect(wrong('--labels', 'none.txt')).rejects.toThrow(/holds no none\.txt beside model\.onnx/);
});

/** A PNG of a few bytes whose header says 30,000 x 30,000. */
function bomb(): Buffer {
  const chunk = (type: string, data: Buffer): Buffer => {
    const body = Buffer.concat([Buffer.from(type), data]);
    const frame = Buffer.alloc(8);
    frame.writeUInt32BE(data.length);
    frame.writeUInt32BE(crc32(body), 4);
    return Buffer.concat([frame.subarray(0, 4), body, frame.subarray(4)]);
  };
  const header = Buffer.alloc(13);
  header.writeUInt32BE(30_000);
  header.writeUInt32BE(30_000, 4);
  header.set([8, 2], 8);
  const signature = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);
  return Buffer.concat([
    signature,
    chunk('IHDR', header),
    chunk('IDAT', Buffer.from([0x78, 0x9c])),
    chunk('IEND', Buffer.alloc(0)),
  ]);
}
