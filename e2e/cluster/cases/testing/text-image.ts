import { readFile } from 'node:fs/promises';
import { decodeCtc } from '../../../../cli/core/decode-ctc.ts';
import { DICTIONARY, EXPECTED_TEXT, IMAGE } from '../../../../cli/demo/paths.ts';
import { imageInput } from '../../../../cli/infer/image.ts';
import { decodeAnswer, encodeRequest, JSON_LENGTH_HEADER } from '../../../../client/core/infer-message.ts';
import type { ClientAnswer, ClientRequest } from '../../client/messages.ts';
import { text } from './platform.ts';

export { EXPECTED_TEXT };

/** Input of the PP-OCRv4 recogniser, as its metadata has it. */
const INPUT = { name: 'x', datatype: 'FP32', shape: [-1, 3, 48, -1] } as const;

/** What has the recogniser read the text in an image. */
export async function imageRequest(): Promise<Pick<ClientRequest, 'headers' | 'bodyBase64'>> {
  const image = { bytes: await readFile(IMAGE), source: IMAGE };
  const input = await imageInput(image, INPUT, { channels: 'bgr', mean: [0.5], std: [0.5] });
  const { headers, body } = encodeRequest([input]);
  return { headers, bodyBase64: Buffer.from(body).toString('base64') };
}

/** The text that the recogniser found. @throws Error for an answer that holds none. */
export async function textIn(answer: ClientAnswer): Promise<string> {
  if (answer.status !== 200) throw new Error(`${answer.status} ${answer.error ?? text(answer)}`);
  const body = Buffer.from(answer.bodyBase64, 'base64');
  const [output] = decodeAnswer(body, answer.headers[JSON_LENGTH_HEADER]).outputs;
  const [reading] = output === undefined ? [] : decodeCtc(output, await readFile(DICTIONARY, 'utf8'));
  return reading?.text ?? '';
}
