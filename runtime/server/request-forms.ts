import type { TransformParameters } from '../../contracts/transform.ts';
import { validateInputs } from '../core/model-signature.ts';
import { INFERENCE_HEADER_LENGTH } from '../core/oip-binary.ts';
import { echoedParameters, type InferRequest, noParameters, planOutputs } from '../core/oip-messages.ts';
import { parsePriority } from '../core/priority.ts';
import type { Tensor } from '../core/tensor.ts';
import type { PredictRequest } from '../core/v1.ts';
import type { LoadedModel } from '../ports.ts';
import { servedVersion } from './admission.ts';
import type { Answer, Exchange } from './exchange.ts';
import { type HookSubject, moduleWith } from './user-hooks.ts';
import { headerText, type Work } from './work.ts';

/** A REST request as it was read, and how its answer will be written. */
export interface RequestForm {
  readonly subject: HookSubject;
  /** Compared with the model, unless a `preprocess` comes first. */
  readonly inputs: readonly Tensor[];
  /** Outputs that the model has to give; all when undefined. */
  readonly outputNames: readonly string[] | undefined;
  /** Undefined for the default. */
  readonly priority: number | undefined;
  /** @param added parameters of a module. */
  encode(outputs: readonly Tensor[], added?: TransformParameters): Promise<Answer>;
}

/** @throws PilotlightError with what is wrong with the request */
export async function decodeV2(
  body: Buffer,
  model: LoadedModel,
  exchange: Exchange,
  work: Work,
): Promise<RequestForm> {
  const { signature } = model;
  const headerLength = headerText(exchange, INFERENCE_HEADER_LENGTH);
  const request = await work.json.decodeV2({ body, headerLength, signature }, work);
  if (moduleWith(model, 'preprocess') === undefined) validateInputs(model.signature, request.inputs);
  return formOfV2(request, model, work);
}

/** A body that only the service's own code can read. The answer is JSON, or binary where the caller takes that. */
export function rawV2(model: LoadedModel, exchange: Exchange, work: Work): RequestForm {
  const accepted = headerText(exchange, 'accept') ?? '';
  return formOfV2(
    {
      id: undefined,
      parameters: noParameters(),
      inputs: [],
      outputs: [],
      binaryDataOutput: /\bapplication\/octet-stream\b/i.test(accepted),
    },
    model,
    work,
  );
}

function formOfV2(request: InferRequest, model: LoadedModel, work: Work): RequestForm {
  const { id, parameters, inputs } = request;
  const names = request.outputs.map(({ name }) => name);
  let outputNames: readonly string[] | undefined;
  let isBinary: (name: string) => boolean;
  if (moduleWith(model, 'postprocess') === undefined) {
    const plan = planOutputs(model.signature, request);
    const binaryNames = new Set(plan.filter(({ binary }) => binary).map(({ signature }) => signature.name));
    outputNames = names.length === 0 ? undefined : plan.map(({ signature }) => signature.name);
    isBinary = (name) => binaryNames.has(name);
  } else {
    // What a module will give is known once it has; it may need any of the model's outputs.
    const wanted = new Map(request.outputs.map((output) => [output.name, output.binaryData]));
    isBinary = (name) => wanted.get(name) ?? request.binaryDataOutput;
  }
  return {
    subject: { protocol: 'v2', id, parameters, outputs: names },
    inputs,
    outputNames,
    priority: parsePriority(parameters['priority']),
    encode: async (outputs, added) => {
      const encoded = await work.json.encodeV2(
        {
          modelName: model.name,
          modelVersion: servedVersion(model),
          id,
          parameters:
            added === undefined
              ? echoedParameters(parameters)
              : { ...echoedParameters(parameters), ...added },
          outputs,
        },
        isBinary,
        work,
      );
      const headers: Record<string, string> = { 'content-type': encoded.contentType };
      if (encoded.inferenceHeaderLengthBytes !== undefined) {
        headers[INFERENCE_HEADER_LENGTH] = String(encoded.inferenceHeaderLengthBytes);
      }
      return { status: 200, headers, body: encoded.chunks };
    },
  };
}

/** @throws PilotlightError with what is wrong with the request */
export async function decodeV1(body: Buffer, model: LoadedModel, work: Work): Promise<RequestForm> {
  const request = await work.json.decodeV1(body, model.signature, work);
  validateInputs(model.signature, request.inputs);
  return {
    subject: V1_SUBJECT,
    inputs: request.inputs,
    outputNames: undefined,
    priority: undefined,
    encode: (outputs) => predictAnswer(outputs, request, work),
  };
}

/** A V1 request that only the service's own code can read. Answered by rows where the outputs have as many. */
export function rawV1(work: Work): RequestForm {
  return {
    subject: V1_SUBJECT,
    inputs: [],
    outputNames: undefined,
    priority: undefined,
    encode: (outputs) => {
      const rowCount = outputs[0]?.shape[0];
      const areRows = rowCount !== undefined && outputs.every(({ shape }) => shape[0] === rowCount);
      return predictAnswer(outputs, { layout: areRows ? 'rows' : 'columns', rowCount }, work);
    },
  };
}

const V1_SUBJECT: HookSubject = { protocol: 'v1', id: undefined, parameters: noParameters(), outputs: [] };

async function predictAnswer(
  outputs: readonly Tensor[],
  request: Pick<PredictRequest, 'layout' | 'rowCount'>,
  work: Work,
): Promise<Answer> {
  return {
    status: 200,
    headers: { 'content-type': 'application/json' },
    body: [await work.json.encodeV1(outputs, request, work)],
  };
}
