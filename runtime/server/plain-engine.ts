import { PilotlightError } from '../../contracts/errors.ts';
import type { ModelSignature, TensorSignature } from '../core/model-signature.ts';
import { DATATYPES, type Tensor } from '../core/tensor.ts';
import type { Engine, InferenceCall, InferenceResult, LoadedModel, RuntimePhase } from '../ports.ts';

/** A model that computes in plain JavaScript: the second implementation of the port, for tests of the protocol. */
export interface PlainModel extends LoadedModel {
  capacity: number;
  /** While set, calls wait for it: a model that takes its time. */
  gate: Promise<void> | undefined;
  /** Calls that it has begun. */
  readonly calls: number;
}

export class PlainEngine implements Engine {
  current: RuntimePhase;
  welcomesCallers = true;

  constructor(current: RuntimePhase = { phase: 'standby' }) {
    this.current = current;
  }
}

/** An engine that is ready with `model`, for anybody. */
export function readyWith(model: LoadedModel): PlainEngine {
  return new PlainEngine({ phase: 'ready', model, claim: undefined });
}

/** `sum = a + b`, FP32 of any shape of two dimensions with a batch. */
export function sumModel(): PlainModel {
  const tensor = (name: string): TensorSignature => ({ name, datatype: 'FP32', shape: ['batch', 'width'] });
  return plainModel(
    'sum',
    { inputs: [tensor('a'), tensor('b')], outputs: [tensor('sum')], maxBatchSize: 8 },
    ([a, b]) => {
      const left = a?.data as Float32Array;
      const right = b?.data as Float32Array;
      return [
        {
          name: 'sum',
          datatype: 'FP32',
          shape: a?.shape ?? [],
          data: left.map((x, i) => x + (right[i] ?? 0)),
        },
      ];
    },
  );
}

/** One input and one output of any length; the output is the input. */
export function identityModel(datatype: (typeof DATATYPES)[number]): PlainModel {
  const tensor = (name: string): TensorSignature => ({ name, datatype, shape: [-1] });
  return plainModel(
    'identity',
    { inputs: [tensor('in')], outputs: [tensor('out')], maxBatchSize: 0 },
    (inputs) => inputs.map((input) => ({ ...input, name: 'out' })),
  );
}

function plainModel(
  name: string,
  signature: ModelSignature,
  compute: (inputs: readonly Tensor[]) => readonly Tensor[],
): PlainModel {
  let calls = 0;
  const model: PlainModel = {
    name,
    versions: ['1', '3'],
    signature,
    capacity: 4,
    sizeBytes: 100,
    gate: undefined,
    get calls() {
      return calls;
    },
    infer: async ({ inputs, outputs, signal }: InferenceCall): Promise<InferenceResult> => {
      if (signal.aborted) throw new PilotlightError('client-closed', 'the client left');
      calls += 1;
      if (model.gate !== undefined) await model.gate;
      const byName = signature.inputs.flatMap((input) =>
        inputs.filter((tensor) => tensor.name === input.name),
      );
      const all = compute(byName);
      const wanted = outputs === undefined ? all : all.filter((output) => outputs.includes(output.name));
      return { outputs: wanted, queuedMs: 0.25, computeMs: 0.5 };
    },
  };
  return model;
}
