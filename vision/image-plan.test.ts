import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type ImagePlan, type InputMetadata, imageTensor, planImage } from './image-plan.ts';

const input = (shape: number[], datatype = 'FP32'): InputMetadata => ({ name: 'x', datatype, shape });
const PHOTO = { width: 640, height: 480 };

test('sizes that a model fixes are taken from it, whatever the image has', () => {
  expect(planImage(input([1, 3, 224, 224]), PHOTO, {})).toMatchObject({
    layout: 'NCHW',
    channelCount: 3,
    height: 224,
    width: 224,
    channels: 'rgb',
    mean: [0, 0, 0],
    std: [1, 1, 1],
  });
});

test('a width that the model leaves open keeps the proportions of the image', () => {
  expect(planImage(input([-1, 3, 48, -1]), { width: 500, height: 64 }, {})).toMatchObject({
    height: 48,
    width: 375,
  });
});

test('both sizes open: those of the image, or those that are asked for', () => {
  expect(planImage(input([-1, 3, -1, -1]), PHOTO, {})).toMatchObject({ height: 480, width: 640 });
  expect(planImage(input([-1, 3, -1, -1]), PHOTO, { height: 32, width: 64 })).toMatchObject({
    height: 32,
    width: 64,
  });
});

test('channels at the end are told from channels at the front', () => {
  expect(planImage(input([-1, 28, 28, 1], 'UINT8'), PHOTO, {})).toMatchObject({
    layout: 'NHWC',
    channelCount: 1,
    datatype: 'UINT8',
  });
});

test.each([
  ['a datatype of no image', input([1, 3, 8, 8], 'INT64'), {}, /INT64.*expected FP32, FP16, FP64, UINT8/],
  ['too few dimensions', input([1, 512]), {}, /expected 4 dimensions/],
  ['a fixed batch', input([8, 3, 8, 8]), {}, /no single image/],
  ['no dimension for channels', input([1, 4, 8, 8]), {}, /no dimension of 1 or 3 channels/],
  [
    'a size that the model does not have',
    input([1, 3, 8, 8]),
    { height: 9, width: 8 },
    /height of 8.*asks for 9/,
  ],
  [
    'a mean for too many channels',
    input([1, 1, 8, 8]),
    { mean: [1, 2, 3] },
    /--mean: expected 1 or 1 numbers/,
  ],
  ['an absurd size', input([1, 3, -1, 8]), { height: 99_999 }, /at most 8192 a side: give --size/],
])('%s is refused with what to do', (_what, metadata, wishes, message) => {
  expect(() => planImage(metadata, PHOTO, wishes)).toThrow(message);
});

/** Two pixels: red of 255, 0, 0 and a grey of 51. */
const PIXELS = Uint8Array.from([255, 0, 0, 51, 51, 51]);
const PLAN: ImagePlan = {
  input: 'x',
  datatype: 'FP32',
  layout: 'NCHW',
  channelCount: 3,
  height: 1,
  width: 2,
  channels: 'rgb',
  mean: [0, 0, 0],
  std: [1, 1, 1],
  scale: 1 / 255,
  padding: 0,
  scaled: { width: 2, height: 1 },
};
const floats = (bytes: Uint8Array): number[] =>
  Array.from(new Float32Array(bytes.buffer), (value) => Number(value.toFixed(6)));

test('pixels become planes from 0 to 1', () => {
  const { shape, bytes } = imageTensor(PIXELS, PLAN);
  expect(shape).toEqual([1, 3, 1, 2]);
  expect(floats(bytes)).toEqual([1, 0.2, 0, 0.2, 0, 0.2]);
});

test('BGR turns the channels round; mean and deviation belong to the channel where it then stands', () => {
  const { bytes } = imageTensor(PIXELS, { ...PLAN, channels: 'bgr', mean: [0, 0, 0.5], std: [1, 1, 0.5] });
  expect(floats(bytes)).toEqual([0, 0.2, 0, 0.2, 1, -0.6]);
});

test('bytes stay bytes, interleaved where the model wants it', () => {
  const { shape, bytes } = imageTensor(PIXELS, { ...PLAN, datatype: 'UINT8', layout: 'NHWC' });
  expect(shape).toEqual([1, 1, 2, 3]);
  expect([...bytes]).toEqual([...PIXELS]);
});

test('half precision has two bytes a value', () => {
  const { bytes } = imageTensor(PIXELS, { ...PLAN, datatype: 'FP16' });
  expect(bytes.byteLength).toBe(12);
  expect(new Float16Array(bytes.buffer)[0]).toBe(1);
});

const target = input([1, 3, 224, 224]);

test('an image is stretched, cut from the middle, or fitted in', () => {
  expect(planImage(target, PHOTO, {}).scaled).toEqual({ width: 224, height: 224 });
  expect(planImage(target, PHOTO, { fit: 'cover' }).scaled).toEqual({ width: 299, height: 224 });
  expect(planImage(target, PHOTO, { fit: 'contain' }).scaled).toEqual({ width: 224, height: 168 });
  expect(planImage(target, PHOTO, { shorterSide: 256 }).scaled).toEqual({ width: 341, height: 256 });
});

test('what would be cut from a size below the model’s, or of a hundred million pixels, is refused', () => {
  expect(() => planImage(target, PHOTO, { shorterSide: 200 })).toThrow(
    /expected at least the size of the input, 224x224/,
  );
  expect(() => planImage(target, { width: 1, height: 8_000 }, { fit: 'cover' })).toThrow(/too long and thin/);
});

test('whatever the image, it covers the model’s size, or fits into it', () => {
  const side = fc.integer({ min: 1, max: 300 });
  fc.assert(
    fc.property(side, side, side, side, (width, height, modelWidth, modelHeight) => {
      const metadata = input([1, 3, modelHeight, modelWidth]);
      const covered = planImage(metadata, { width, height }, { fit: 'cover' }).scaled;
      expect(covered.width >= modelWidth && covered.height >= modelHeight).toBe(true);
      expect(covered.width === modelWidth || covered.height === modelHeight).toBe(true);
      const fitted = planImage(metadata, { width, height }, { fit: 'contain' }).scaled;
      expect(fitted.width <= modelWidth && fitted.height <= modelHeight).toBe(true);
    }),
  );
});

test('a scale of its own stands in for 1/255', () => {
  const { bytes } = imageTensor(PIXELS, { ...PLAN, scale: 1 });
  expect(new Float32Array(bytes.buffer as ArrayBuffer)[0]).toBe(PIXELS[0]);
});
