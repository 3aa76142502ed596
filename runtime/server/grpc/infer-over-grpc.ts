import { PilotlightError } from '../../../contracts/errors.ts';
import { validateInputs } from '../../core/model-signature.ts';
import { noParameters, planOutputs } from '../../core/oip-messages.ts';
import type { WireWriter } from '../../core/protobuf.ts';
import type { Tensor } from '../../core/tensor.ts';
import type { LoadedModel } from '../../ports.ts';
import { admit, requireModel, servedVersion } from '../admission.ts';
import type { Exchange } from '../exchange.ts';
import { batchSizeOf } from '../model-statistics.ts';
import {
  type HookSubject,
  moduleWith,
  type Preparation,
  postprocess,
  preprocess,
  selected,
} from '../user-hooks.ts';
import { addresseeOf, roomSize, type Serving, Work } from '../work.ts';
import {
  decodeModelInferRequest,
  encodeModelInferResponse,
  type GrpcInferRequest,
} from './infer-messages.ts';
import { parameterValues } from './parameter-values.ts';

/**
 * Decides what the head of a call can tell: phase, service, and whether there is room. Whom it is for stands in its
 * message.
 *
 * @returns the model that this process holds.
 * @throws PilotlightError as `admit` does, and `server-busy`.
 */
export function admitByHead(serving: Serving, exchange: Pick<Exchange, 'headers'>): LoadedModel {
  const phase = serving.engine.current;
  const held = phase.phase === 'ready' ? phase.model.name : '';
  return admit(phase, addresseeOf(exchange, { model: held, version: undefined }));
}

/**
 * ModelInfer, unary or one message of a stream.
 *
 * @param origin whose headers count, and whose end is the end of the work.
 * @param read gives the message, accounted to the work.
 * @param timeoutMs the client's own deadline.
 */
export async function inferOverGrpc(
  serving: Serving,
  origin: Pick<Exchange, 'headers' | 'onDone'>,
  read: (work: Work) => Buffer | Promise<Buffer>,
  timeoutMs: number | undefined,
): Promise<WireWriter> {
  const model = admitByHead(serving, origin);
  serving.room.refuseWhenFull(roomSize(model, serving.reading.limits.maxWaiting));
  const work = new Work(serving, origin, timeoutMs);
  try {
    return await carryOut(serving, origin, model, work, await read(work));
  } catch (error) {
    serving.statistics.of(model).failed(work.elapsedMs);
    throw error;
  }
}

async function carryOut(
  serving: Serving,
  origin: Pick<Exchange, 'headers'>,
  model: LoadedModel,
  work: Work,
  message: Buffer,
): Promise<WireWriter> {
  const decodeFromMs = performance.now();
  const request = decodeModelInferRequest(message);
  requireModel(model, { modelName: request.modelName, version: request.modelVersion });
  const subject = subjectOf(request, model);
  const { inputs, state } = await prepare(origin, model, work, request, subject);
  const outputNames = plannedOutputs(request, model);
  const decodeMs = performance.now() - decodeFromMs;
  const result = await work.run(model, inputs, outputNames, request.priority);
  const encodeFromMs = performance.now();
  const outputs = await finish(origin, model, work, subject, { outputs: result.outputs, state });
  const writer = encodeModelInferResponse(
    request,
    { name: model.name, version: servedVersion(model) },
    outputs,
  );
  const encodeMs = performance.now() - encodeFromMs;
  const { queuedMs, computeMs } = result;
  serving.statistics
    .of(model)
    .succeeded(
      { queuedMs, decodeMs, computeMs, encodeMs },
      batchSizeOf(model, inputs),
      performance.timeOrigin + encodeFromMs,
    );
  work.held.takeAnyway(writer.sizeBytes);
  return writer;
}

/** What a module of the user's is told; nothing without one, since parameters are echoed as they came. */
function subjectOf({ id, parameters, outputNames }: GrpcInferRequest, model: LoadedModel): HookSubject {
  return {
    protocol: 'grpc',
    id: id === '' ? undefined : id,
    parameters: model.userModule === undefined ? noParameters() : parameterValues(parameters),
    outputs: outputNames,
  };
}

async function prepare(
  origin: Pick<Exchange, 'headers'>,
  model: LoadedModel,
  work: Work,
  request: GrpcInferRequest,
  subject: HookSubject,
): Promise<Pick<Preparation, 'inputs' | 'state'>> {
  const inputs = request.inputs();
  const module = moduleWith(model, 'preprocess');
  if (module !== undefined)
    return preprocess(module, model, origin, work, subject, { inputs, body: undefined });
  validateInputs(model.signature, inputs);
  return { inputs, state: undefined };
}

/** Decided before the model runs, unless a module decides it afterwards. */
function plannedOutputs({ id, outputNames }: GrpcInferRequest, model: LoadedModel): string[] | undefined {
  if (moduleWith(model, 'postprocess') !== undefined) return undefined;
  const outputs = outputNames.map((name) => ({ name, binaryData: undefined, parameters: noParameters() }));
  const plan = planOutputs(model.signature, {
    id,
    parameters: noParameters(),
    inputs: [],
    outputs,
    binaryDataOutput: true,
  });
  return outputs.length === 0 ? undefined : plan.map(({ signature }) => signature.name);
}

async function finish(
  origin: Pick<Exchange, 'headers'>,
  model: LoadedModel,
  work: Work,
  subject: HookSubject,
  result: { outputs: readonly Tensor[]; state: unknown },
): Promise<readonly Tensor[]> {
  const module = moduleWith(model, 'postprocess');
  if (module === undefined) return result.outputs;
  const answer = await postprocess(module, model, origin, work, subject, result);
  if (answer.kind === 'outputs') return selected(answer.outputs, subject.outputs);
  throw new PilotlightError(
    'unsupported',
    `postprocess gave a body (${answer.contentType}), which gRPC can't carry; use REST, or give outputs`,
  );
}
