import { validateInputs } from '../core/model-signature.ts';
import { decodeInferBody, INFERENCE_HEADER_LENGTH } from '../core/oip-binary.ts';
import { echoedParameters, planOutputs } from '../core/oip-messages.ts';
import { encodeInferResponse } from '../core/oip-response.ts';
import { decodePredictRequest, encodePredictResponse } from '../core/v1.ts';
import type { InferenceResult, LoadedModel } from '../ports.ts';
import { admit, servedVersion } from './admission.ts';
import { acceptedCoding, compress, decodeContent } from './content-coding.ts';
import { type Answer, bodySizeBytes, type Exchange } from './exchange.ts';
import { batchSizeOf } from './model-statistics.ts';
import { checkBodyHead, readBody } from './read-body.ts';
import type { Route } from './router.ts';
import { addresseeOf, headerText, roomSize, type Serving, Work } from './work.ts';

type InferenceRoute = Extract<Route, { model: string }>;

/** A tensor body decoded, and how its answer will be written. */
interface Decoded {
  inputs: InferenceResult['outputs'];
  outputNames: readonly string[] | undefined;
  encode(result: InferenceResult): Answer;
}

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
  const decoded = route.kind === 'v1-predict' ? decodeV1(body, model) : decodeV2(body, model, exchange);
  const decodeMs = performance.now() - decodeFromMs;
  const result = await work.run(model, decoded.inputs, decoded.outputNames);
  const encodeFromMs = performance.now();
  const answer = decoded.encode(result);
  const encodeMs = performance.now() - encodeFromMs;
  const { queuedMs, computeMs } = result;
  answer.headers['server-timing'] = `queue;dur=${queuedMs.toFixed(3)}, compute;dur=${computeMs.toFixed(3)}`;
  const batchSize = batchSizeOf(model, decoded.inputs);
  serving.statistics
    .of(model)
    .succeeded({ queuedMs, decodeMs, computeMs, encodeMs }, batchSize, performance.timeOrigin + encodeFromMs);
  await compressAnswer(exchange, answer);
  work.held.takeAnyway(bodySizeBytes(answer.body));
  return answer;
}

function decodeV2(body: Buffer, model: LoadedModel, exchange: Exchange): Decoded {
  const request = decodeInferBody(body, headerText(exchange, INFERENCE_HEADER_LENGTH), model.signature);
  validateInputs(model.signature, request.inputs);
  const plan = planOutputs(model.signature, request);
  const binaryNames = new Set(plan.filter(({ binary }) => binary).map(({ signature }) => signature.name));
  return {
    inputs: request.inputs,
    outputNames: request.outputs.length === 0 ? undefined : plan.map(({ signature }) => signature.name),
    encode: ({ outputs }) => {
      const encoded = encodeInferResponse(
        {
          modelName: model.name,
          modelVersion: servedVersion(model),
          id: request.id,
          parameters: echoedParameters(request.parameters),
          outputs,
        },
        (name) => binaryNames.has(name),
      );
      const headers: Record<string, string> = { 'content-type': encoded.contentType };
      if (encoded.inferenceHeaderLengthBytes !== undefined) {
        headers[INFERENCE_HEADER_LENGTH] = String(encoded.inferenceHeaderLengthBytes);
      }
      return { status: 200, headers, body: encoded.chunks };
    },
  };
}

function decodeV1(body: Buffer, model: LoadedModel): Decoded {
  const request = decodePredictRequest(body, model.signature);
  validateInputs(model.signature, request.inputs);
  return {
    inputs: request.inputs,
    outputNames: undefined,
    encode: ({ outputs }) => ({
      status: 200,
      headers: { 'content-type': 'application/json' },
      body: [encodePredictResponse(outputs, request)],
    }),
  };
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
