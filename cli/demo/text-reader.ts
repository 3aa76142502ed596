import { readFile } from 'node:fs/promises';
import { decodeAnswer, encodeRequest, JSON_LENGTH_HEADER } from '../../client/core/infer-message.ts';
import { decodeCtc, type RecognisedText } from '../core/decode-ctc.ts';
import { CommandFailure } from '../failure.ts';
import { call, headerOf } from '../http.ts';
import { imageInput } from '../infer/image.ts';
import { DICTIONARY, EXPECTED_TEXT, IMAGE } from './paths.ts';

const TIMEOUT_MS = 30_000;
/** Input of the PP-OCRv4 recogniser, as its metadata has it. */
const INPUT = { name: 'x', datatype: 'FP32', shape: [-1, 3, 48, -1] } as const;

interface Reading extends RecognisedText {
  readonly durationMs: number;
}

/** Sends the image to the recogniser and reads the answer; each answer is checked. */
export interface TextReader {
  /** Size of a request in bytes. */
  readonly sizeBytes: number;
  /** @throws CommandFailure unless the text is the one in the image. */
  read(): Promise<Reading>;
}

export async function createTextReader(url: string): Promise<TextReader> {
  const dictionary = await readFile(DICTIONARY, 'utf8');
  const image = { bytes: await readFile(IMAGE), source: IMAGE };
  const input = await imageInput(image, INPUT, { channels: 'bgr', mean: [0.5], std: [0.5] });
  const request = encodeRequest([input]);
  return {
    sizeBytes: request.body.byteLength,
    read: async () => {
      const answer = await call({
        method: 'POST',
        url: `${url}/v2/models/ocr/infer`,
        ...request,
        timeoutMs: TIMEOUT_MS,
        hint: 'a request was lost',
      });
      if (answer.status !== 200) {
        throw new CommandFailure(
          `a request was answered with ${answer.status}: ${answer.body.toString('utf8', 0, 500)}`,
        );
      }
      const [output] = decodeAnswer(answer.body, headerOf(answer, JSON_LENGTH_HEADER)).outputs;
      const [reading] = output === undefined ? [] : decodeCtc(output, dictionary);
      if (reading?.text !== EXPECTED_TEXT) {
        throw new CommandFailure(`expected the text "${EXPECTED_TEXT}", got "${reading?.text ?? ''}"`);
      }
      return { ...reading, durationMs: answer.durationMs };
    },
  };
}
