import { validateInputs } from '../../core/model-signature.ts';
import { noParameters, planOutputs } from '../../core/oip-messages.ts';
import type { LoadedModel } from '../../ports.ts';
import { admit, requireModel, servedVersion } from '../admission.ts';
import type { Exchange } from '../exchange.ts';
import { batchSizeOf } from '../model-statistics.ts';
import { addresseeOf, roomSize, type Serving, Work } from '../work.ts';
import { decodeModelInferRequest, encodeModelInferResponse } from './infer-messages.ts';
import type { WireWriter } from './wire.ts';

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
    return await carryOut(serving, model, work, await read(work));
  } catch (error) {
    serving.statistics.of(model).failed(work.elapsedMs);
    throw error;
  }
}

async function carryOut(
  serving: Serving,
  model: LoadedModel,
  work: Work,
  message: Buffer,
): Promise<WireWriter> {
  const decodeFromMs = performance.now();
  const request = decodeModelInferRequest(message);
  requireModel(model, { modelName: request.modelName, version: request.modelVersion });
  const inputs = request.inputs();
  validateInputs(model.signature, inputs);
  const outputs = request.outputNames.map((name) => ({
    name,
    binaryData: undefined,
    parameters: noParameters(),
  }));
  const plan = planOutputs(model.signature, {
    id: request.id,
    parameters: noParameters(),
    inputs,
    outputs,
    binaryDataOutput: true,
  });
  const decodeMs = performance.now() - decodeFromMs;
  const names = outputs.length === 0 ? undefined : plan.map(({ signature }) => signature.name);
  const result = await work.run(model, inputs, names);
  const encodeFromMs = performance.now();
  const writer = encodeModelInferResponse(
    request,
    { name: model.name, version: servedVersion(model) },
    result.outputs,
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
