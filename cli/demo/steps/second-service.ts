import { readFile } from 'node:fs/promises';
import { decodeAnswer } from '../../../client/core/infer-message.ts';
import { formatMs } from '../../core/units.ts';
import { CommandFailure } from '../../failure.ts';
import { call } from '../../http.ts';
import { SILENCE, SPEECH } from '../paths.ts';
import { type DemoContext, noteServingPids } from './stage-context.ts';

const TIMEOUT_MS = 30_000;
/** Silero's own threshold. */
const SPEECH_FROM = 0.5;

/** Another model, called with JSON: a voice activity detector that tells a vowel from silence. */
export async function showSecondService(context: DemoContext): Promise<void> {
  const { screen } = context;
  await screen.step('A second service: is there speech in 32 ms of sound?');
  const speech = await ask(context, SPEECH);
  await showAnswer(context, 'a spoken “ah”', speech, 'from nothing');
  const silence = await ask(context, SILENCE);
  await showAnswer(context, 'silence', silence, 'warm');
  await noteServingPids(context);
  if (!(speech.probability >= SPEECH_FROM && silence.probability < SPEECH_FROM)) {
    throw new CommandFailure(
      `expected speech above ${SPEECH_FROM} and silence below, got ${speech.probability} and ${silence.probability}`,
    );
  }
}

interface Answer {
  readonly probability: number;
  readonly durationMs: number;
}

async function ask(context: DemoContext, file: string): Promise<Answer> {
  const answer = await context.screen.waitFor(
    'vad answers',
    call({
      method: 'POST',
      url: `${context.stage.url}/v2/models/vad/infer`,
      headers: { 'content-type': 'application/json' },
      body: await readFile(file),
      timeoutMs: TIMEOUT_MS,
      hint: 'a request was lost',
    }),
  );
  if (answer.status !== 200) {
    throw new CommandFailure(`vad answered ${answer.status}: ${answer.body.toString('utf8', 0, 500)}`);
  }
  context.answered++;
  const probability = decodeAnswer(answer.body, undefined).outputs[0]?.values[0];
  if (typeof probability !== 'number') throw new CommandFailure('vad answered without a probability');
  return { probability, durationMs: answer.durationMs };
}

function showAnswer({ screen }: DemoContext, what: string, answer: Answer, how: string): Promise<void> {
  const probability = `${(answer.probability * 100).toFixed(0)} %`.padStart(5);
  return screen.line(
    `${what.padEnd(15)} ${probability} speech  ${screen.style.dim(`${formatMs(answer.durationMs)}, ${how}`)}`,
  );
}
