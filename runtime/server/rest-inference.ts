import type { LoadedModel } from '../ports.ts';
import { admit } from './admission.ts';
import { acceptedCoding, compress, decodeContent } from './content-coding.ts';
import { type Answer, bodySizeBytes, type Exchange } from './exchange.ts';
import { batchSizeOf } from './model-statistics.ts';
import { checkBodyHead, readBody } from './read-body.ts';
import type { RequestForm } from './request-forms.ts';
import { readInput } from './rest-input.ts';
import type { Route } from './router.ts';
import { moduleWith, postprocess, selected } from './user-hooks.ts';
import { addresseeOf, headerText, roomSize, type Serving, Work } from './work.ts';

type InferenceRoute = Extract<Route, { model: string }>;

/**
 * Serves one inference over REST: everything that its head can tell is decided before its body is read.
 *
 * @throws PilotlightError with what the caller is to see.
 */
export async function serveInference(
  serving: Serving,
  exchange: Exchange,
  route: InferenceRoute,
): Promise<Answer> {
  const model = admit(serving.engine.current, addresseeOf(exchange, route));
  checkBodyHead(exchange, serving.reading);
  serving.room.refuseWhenFull(roomSize(model, serving.reading.limits.maxWaiting));
  const work = new Work(serving, exchange);
  try {
    return await carryOut(serving, exchange, route, model, work);
  } catch (error) {
    serving.statistics.of(model).failed(work.elapsedMs);
    throw error;
  }
}

async function carryOut(
  serving: Serving,
  exchange: Exchange,
  route: InferenceRoute,
  model: LoadedModel,
  work: Work,
): Promise<Answer> {
  const raw = await readBody(exchange, serving.reading, work.held);
  const contentEncoding = headerText(exchange, 'content-encoding');
  const body =
    contentEncoding === undefined
      ? raw
      : await decodeContent(raw, contentEncoding, serving.reading.limits.maxBodyBytes, work.held);
  const decodeFromMs = performance.now();
  const { form, prepared } = await readInput(exchange, route, model, work, body);
  const decodeMs = performance.now() - decodeFromMs;
  const result = await work.run(model, prepared.inputs, form.outputNames, form.priority);
  const encodeFromMs = performance.now();
  const module = moduleWith(model, 'postprocess');
  const answer =
    module === undefined
      ? await form.encode(result.outputs)
      : await answerOf(module, model, exchange, work, form, {
          outputs: result.outputs,
          state: prepared.state,
        });
  const encodeMs = performance.now() - encodeFromMs;
  const { queuedMs, computeMs } = result;
  answer.headers['server-timing'] = [
    ...(prepared.tookMs > 0 ? [`preprocess;dur=${prepared.tookMs.toFixed(3)}`] : []),
    `queue;dur=${queuedMs.toFixed(3)}`,
    `compute;dur=${computeMs.toFixed(3)}`,
    ...(module === undefined ? [] : [`postprocess;dur=${encodeMs.toFixed(3)}`]),
  ].join(', ');
  const batchSize = batchSizeOf(model, prepared.inputs);
  serving.statistics
    .of(model)
    .succeeded({ queuedMs, decodeMs, computeMs, encodeMs }, batchSize, performance.timeOrigin + encodeFromMs);
  await compressAnswer(exchange, answer);
  work.held.takeAnyway(bodySizeBytes(answer.body));
  return answer;
}

async function answerOf(
  module: NonNullable<ReturnType<typeof moduleWith>>,
  model: LoadedModel,
  exchange: Exchange,
  work: Work,
  form: RequestForm,
  result: Parameters<typeof postprocess>[5],
): Promise<Answer> {
  const answer = await postprocess(module, model, exchange, work, form.subject, result);
  if (answer.kind === 'outputs') {
    return form.encode(selected(answer.outputs, form.subject.outputs), answer.parameters);
  }
  const { status, contentType, body } = answer;
  return { status, headers: { 'content-type': contentType }, body: [body] };
}

async function compressAnswer(exchange: Exchange, answer: Answer): Promise<void> {
  const coding = acceptedCoding(headerText(exchange, 'accept-encoding'));
  if (coding === undefined || typeof answer.body === 'string') return;
  const compressed = await compress(answer.body, bodySizeBytes(answer.body), coding);
  if (compressed === undefined) return;
  answer.headers['content-encoding'] = coding;
  answer.headers['vary'] = 'accept-encoding';
  answer.body = compressed;
}
