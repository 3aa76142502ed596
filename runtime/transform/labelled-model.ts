import type { LabelsOrder } from '../../contracts/admin.ts';
import { PilotlightError } from '../../contracts/errors.ts';
import { bestLabels } from '../../vision/labels.ts';
import { isVariable, showNames, type TensorSignature } from '../core/model-signature.ts';
import type { Tensor } from '../core/tensor.ts';
import type { InferenceCall, InferenceResult, LoadedModel } from '../ports.ts';

/** Model and answer as callers see them when scores become names. */
export type LabelledModel = Pick<LoadedModel, 'signature' | 'infer'>;

/**
 * A classifier whose answer names the best classes: outputs `label` (BYTES) and `score` (FP32), best first, in place
 * of the output with all scores, or beside it. Metadata, selection of outputs and every protocol follow from that.
 *
 * @param names one a class, in order.
 * @throws PilotlightError `model-invalid` where names and model don't go together
 */
export function labelled(
  { signature, infer }: LabelledModel,
  { file, top, output: wanted, keepScores }: Omit<LabelsOrder, 'file'> & { file: { path: string } },
  names: readonly string[],
): LabelledModel {
  const scores = scoresOf(signature.outputs, wanted, file.path, names.length);
  const count = Math.min(top, names.length);
  const shape = [...scores.shape.slice(0, -1), count];
  const free = (name: string): string =>
    signature.outputs.some((output) => output.name === name) ? `${scores.name}_${name}` : name;
  const label: TensorSignature = { name: free('label'), datatype: 'BYTES', shape };
  const score: TensorSignature = { name: free('score'), datatype: 'FP32', shape };
  const others = signature.outputs.filter((output) => output !== scores);
  const outputs = [label, score, ...others, ...(keepScores ? [scores] : [])];

  const inferLabelled = async (call: InferenceCall): Promise<InferenceResult> => {
    const asked = call.outputs ?? outputs.map(({ name }) => name);
    const needed = new Set(
      asked.map((name) => (name === label.name || name === score.name ? scores.name : name)),
    );
    const result = await infer({ ...call, outputs: [...needed] });
    const found = new Map(result.outputs.map((output) => [output.name, output]));
    const all = found.get(scores.name);
    if (all !== undefined)
      for (const made of topOf(all, names, count, label.name, score.name)) found.set(made.name, made);
    return { ...result, outputs: asked.flatMap((name) => found.get(name) ?? []) };
  };
  return { signature: { ...signature, outputs }, infer: inferLabelled };
}

function scoresOf(
  outputs: readonly TensorSignature[],
  wanted: string | undefined,
  file: string,
  nameCount: number,
): TensorSignature {
  const invalid = (message: string): PilotlightError =>
    new PilotlightError('model-invalid', `spec.predictor.model.labels can't be had: ${message}`);
  if (wanted === undefined && outputs.length > 1) {
    throw invalid(`the model gives ${showNames(outputs)}; say by labels.output which one has the scores`);
  }
  const scores = outputs.find(({ name }) => wanted === undefined || name === wanted);
  if (scores === undefined)
    throw invalid(`the model has no output '${wanted}'; it gives ${showNames(outputs)}`);
  const { name, shape, datatype } = scores;
  const classes = shape.at(-1);
  if (classes === undefined || shape.length > 2 || datatype === 'BYTES' || datatype === 'BOOL') {
    throw invalid(
      `output '${name}' is ${datatype} [${shape.join(', ')}]; expected numbers of shape [classes] or [batch, classes]`,
    );
  }
  if (!isVariable(classes) && classes !== nameCount) {
    throw invalid(`${file} has ${nameCount} lines, and output '${name}' has ${classes} classes`);
  }
  return scores;
}

function topOf(
  scores: Tensor,
  names: readonly string[],
  count: number,
  labelName: string,
  scoreName: string,
): [Tensor, Tensor] {
  const values =
    scores.datatype === 'FP16'
      ? new Float16Array(
          (scores.data as Uint16Array).buffer as ArrayBuffer,
          (scores.data as Uint16Array).byteOffset,
          scores.data.length,
        )
      : scores.data;
  let rows: ReturnType<typeof bestLabels>;
  try {
    rows = bestLabels({ name: scores.name, shape: scores.shape, values }, names, count);
  } catch (error) {
    throw new PilotlightError('inference-failed', error instanceof Error ? error.message : String(error));
  }
  const shape = [...scores.shape.slice(0, -1), count];
  const best = rows.flat();
  return [
    { name: labelName, datatype: 'BYTES', shape, data: best.map(({ label }) => label) },
    {
      name: scoreName,
      datatype: 'FP32',
      shape,
      data: Float32Array.from(best, ({ probability }) => probability),
    },
  ];
}
