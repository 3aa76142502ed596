import { toPilotlightError } from '../../../contracts/errors.ts';
import { validateInputs } from '../../core/model-signature.ts';
import { noParameters, planOutputs } from '../../core/oip-messages.ts';
import { modelMetadata, serverMetadata, type TensorMetadata } from '../../core/oip-metadata.ts';
import type { LoadedModel } from '../../ports.ts';
import { admit, requireModel, servedVersion } from '../admission.ts';
import type { Exchange } from '../exchange.ts';
import { batchSizeOf } from '../model-statistics.ts';
import { EXTENSIONS } from '../rest-handler.ts';
import { addresseeOf, roomSize, type Serving, Work } from '../work.ts';
import { decodeModelInferRequest, encodeModelInferResponse } from './infer-messages.ts';
import { WireReader, WireWriter } from './wire.ts';

export type SimpleMethod = 'ServerLive' | 'ServerReady' | 'ModelReady' | 'ServerMetadata' | 'ModelMetadata';

/** Answers a method that needs no place at the model. */
export function answerSimple(
  serving: Serving,
  exchange: Exchange,
  method: SimpleMethod,
  message: Uint8Array,
): WireWriter {
  const writer = new WireWriter();
  const phase = serving.engine.current;
  switch (method) {
    case 'ServerLive':
      writer.bool(1, true);
      return writer;
    case 'ServerReady':
      writer.bool(1, phase.phase === 'ready');
      return writer;
    case 'ServerMetadata': {
      const metadata = serverMetadata(serving.version, EXTENSIONS);
      writer.string(1, metadata.name);
      writer.string(2, metadata.version);
      for (const extension of metadata.extensions) writer.string(3, extension);
      return writer;
    }
    case 'ModelReady':
      writer.bool(1, isReady(serving, exchange, readNameAndVersion(message)));
      return writer;
    case 'ModelMetadata':
      return metadataOf(admit(phase, addresseeOf(exchange, readNameAndVersion(message))));
  }
}

/** False is an answer here, not an error; but what is meant for another service is sent elsewhere. */
function isReady(serving: Serving, exchange: Exchange, named: { model: string; version: string }): boolean {
  try {
    admit(serving.engine.current, addresseeOf(exchange, named));
    return true;
  } catch (thrown) {
    const error = toPilotlightError(thrown);
    if (error.code === 'wrong-service') throw error;
    return false;
  }
}

function readNameAndVersion(message: Uint8Array): { model: string; version: string } {
  const reader = new WireReader(message);
  let model = '';
  let version = '';
  while (reader.next()) {
    if (reader.field === 1) model = reader.string();
    else if (reader.field === 2) version = reader.string();
    else reader.skip();
  }
  return { model, version };
}

function metadataOf(model: LoadedModel): WireWriter {
  const writer = new WireWriter();
  const metadata = modelMetadata({ name: model.name, version: servedVersion(model) }, model.signature);
  writer.string(1, metadata.name);
  for (const version of metadata.versions ?? []) writer.string(2, version);
  writer.string(3, metadata.platform);
  writeTensors(writer, 4, metadata.inputs);
  writeTensors(writer, 5, metadata.outputs);
  return writer;
}

function writeTensors(writer: WireWriter, field: number, tensors: readonly TensorMetadata[]): void {
  for (const { name, datatype, shape } of tensors) {
    const message = new WireWriter();
    message.string(1, name);
    message.string(2, datatype);
    message.packedInt64(3, shape);
    writer.nested(field, message);
  }
}

/**
 * ModelInfer. Whom the call is for stands in its message, so the head decides only what it can: phase, service,
 * and whether there is room.
 *
 * @param read reads the message, accounted to the work.
 * @param timeoutMs the client's own deadline.
 */
export async function inferOverGrpc(
  serving: Serving,
  exchange: Exchange,
  read: (work: Work) => Promise<Buffer>,
  timeoutMs: number | undefined,
): Promise<WireWriter> {
  const phase = serving.engine.current;
  const held = phase.phase === 'ready' ? phase.model.name : '';
  const model = admit(phase, addresseeOf(exchange, { model: held, version: undefined }));
  serving.room.refuseWhenFull(roomSize(model, serving.reading.limits.maxWaiting));
  const work = new Work(serving, exchange, timeoutMs);
  try {
    return await carryOut(serving, model, work, read);
  } catch (error) {
    serving.statistics.of(model).failed(work.elapsedMs);
    throw error;
  }
}

async function carryOut(
  serving: Serving,
  model: LoadedModel,
  work: Work,
  read: (work: Work) => Promise<Buffer>,
): Promise<WireWriter> {
  const message = await read(work);
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
