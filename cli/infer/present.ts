import { readFile, writeFile } from 'node:fs/promises';
import { extname } from 'node:path';
import { answerJson, type InferAnswer } from '../../client/core/infer-message.ts';
import { type TensorWithValues, tensorBytes } from '../../client/core/tensor-values.ts';
import { bestLabels } from '../../vision/labels.ts';
import { decodeCtc } from '../core/decode-ctc.ts';
import { tensorText } from '../core/tensor-text.ts';
import { formatMs } from '../core/units.ts';
import { CommandFailure, fileFailure, messageOf, UsageMistake } from '../failure.ts';
import { writeNpy } from '../npy.ts';
import { errorStyle, isTerminal, note, outputStyle, print, printLine } from '../terminal.ts';
import type { ModelClient } from './model-client.ts';
import type { InferFlags } from './options.ts';

/**
 * Shows an answer: decoded where the caller asked for it, as text on a terminal, as JSON in a pipe; or writes it
 * to a file.
 */
export async function presentAnswer(answer: InferAnswer, flags: InferFlags): Promise<void> {
  if (flags.output !== undefined) return writeAnswer(answer, flags.output, flags);
  if (flags.decode === 'ctc') return printTexts(only(answer, flags), flags);
  if (flags.labels !== undefined) return printLabels(only(answer, flags), flags, flags.labels);
  if (wantsJson(flags)) return printLine(answerJson(answer));
  const style = outputStyle();
  for (const output of answer.outputs) {
    const [head = '', ...values] = tensorText(output).split('\n');
    await printLine([style.bold(head), ...values].join('\n'));
  }
}

const wantsJson = (flags: InferFlags): boolean => flags.json === true || !isTerminal();

/** The output that is meant where only one can be used. */
function only(answer: InferAnswer, flags: InferFlags): TensorWithValues {
  const [output, ...others] = answer.outputs;
  if (output === undefined) throw new CommandFailure('the answer has no output');
  if (others.length === 0) return output;
  const names = answer.outputs.map(({ name }) => name).join(', ');
  throw new UsageMistake(
    `the model has several outputs (${names}): choose one with --output-name${flags.output === undefined ? '' : ', or write .json'}`,
  );
}

async function printTexts(output: TensorWithValues, flags: InferFlags): Promise<void> {
  if (flags.dictionary === undefined)
    throw new UsageMistake('--decode ctc: expected --dictionary FILE as well');
  const dictionary = await readText(flags.dictionary);
  const texts = inWords(() => decodeCtc(output, dictionary));
  const style = outputStyle();
  for (const { text, confidence } of texts) {
    await printLine(
      wantsJson(flags)
        ? JSON.stringify({ text, confidence: Number(confidence.toFixed(4)) })
        : `${style.bold(text)}  ${style.dim(`confidence ${confidence.toFixed(3)}`)}`,
    );
  }
}

async function printLabels(output: TensorWithValues, flags: InferFlags, path: string): Promise<void> {
  const labels = await readText(path);
  const rows = inWords(() => bestLabels(output, labels, flags.top));
  for (const [row, best] of rows.entries()) {
    if (wantsJson(flags)) {
      await printLine(JSON.stringify({ labels: best }));
      continue;
    }
    if (row > 0) await printLine('');
    for (const { label, probability } of best) {
      await printLine(`${`${(probability * 100).toFixed(1)} %`.padStart(7)}  ${label}`);
    }
  }
}

async function writeAnswer(answer: InferAnswer, path: string, flags: InferFlags): Promise<void> {
  const extension = extname(path).toLowerCase();
  if (extension !== '.npy' && extension !== '.json') {
    throw new UsageMistake(`--output: expected a file that ends in .npy or .json, got "${path}"`);
  }
  let bytes: Uint8Array | string;
  if (extension === '.npy') {
    const output = only(answer, flags);
    bytes = inWords(() =>
      writeNpy({ datatype: output.datatype, shape: output.shape, bytes: tensorBytes(output) }),
    );
  } else {
    bytes = `${answerJson(answer)}\n`;
  }
  try {
    await writeFile(path, bytes);
  } catch (error) {
    throw fileFailure(path, error);
  }
  const outputs = answer.outputs.map(
    ({ name, datatype, shape }) => `${name} ${datatype} [${shape.join(', ')}]`,
  );
  note(`wrote ${path}: ${outputs.join(', ')}`);
}

/** Prints what a V1 server answered, as it came. */
export const presentRaw = (body: Uint8Array): Promise<void> => print(body).then(() => print('\n'));

/** How long each call took, on standard error, so that what is piped stays clean. */
export function presentTimings(client: ModelClient): void {
  const style = errorStyle();
  for (const { what, durationMs, serverTiming } of client.timings) {
    const parts = [what.padEnd(8), formatMs(durationMs).padStart(8)];
    note([...parts, ...(serverTiming === undefined ? [] : [style.dim(timingText(serverTiming))])].join('  '));
  }
}

/** `queue;dur=1.5, start;dur=80` as `queue 1.50 ms, start 80.0 ms`. */
export function timingText(serverTiming: string): string {
  return serverTiming
    .split(',')
    .map((entry) => {
      const [name = '', ...attributes] = entry.trim().split(';');
      const duration = attributes.find((attribute) => attribute.trim().startsWith('dur='));
      return duration === undefined ? name : `${name} ${formatMs(Number(duration.trim().slice(4)))}`;
    })
    .join(', ');
}

async function readText(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    throw fileFailure(path, error);
  }
}

/** What a pure function refuses is a failure of this command, not of the program. */
function inWords<Result>(compute: () => Result): Result {
  try {
    return compute();
  } catch (error) {
    throw new CommandFailure(messageOf(error));
  }
}
