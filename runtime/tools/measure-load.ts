import { stat } from 'node:fs/promises';
import { PilotlightError } from '../../contracts/errors.ts';
import type { LoadMeasure, MeasureLoadJob } from '../../contracts/model-tools.ts';
import { madeUpInputs } from '../core/made-up-inputs.ts';
import { allocateData, type Tensor } from '../core/tensor.ts';
import { Instance } from '../engine/instance.ts';
import { anonymousBytes } from '../engine/memory-fit.ts';
import { settledPlan } from '../engine/session-options.ts';
import { signatureOf } from '../engine/signature.ts';
import { findStart } from '../engine/starting-point.ts';
import { warmUpInputs } from '../engine/warm-up-input.ts';
import { openWithForms } from './opened-model.ts';

type Row = LoadMeasure['rows'][number];

/** Runs a model from as many instances as asked for, each one after the other without a pause, batch by batch. */
export async function measureLoad(job: MeasureLoadJob, signal: AbortSignal): Promise<LoadMeasure> {
  const { model, forms } = await openWithForms(job, signal);
  const start = await findStart(model, forms, () => undefined);
  const instances = Array.from({ length: job.instances }, () => new Instance());
  try {
    const plan = settledPlan(start, { threadsPerInstance: job.threads, sizeBytes: model.sizeBytes });
    const [metadata] = await Promise.all(instances.map((instance) => instance.create(plan)));
    if (metadata === undefined) throw new PilotlightError('internal', 'no instance was asked for');
    const shapes = warmUpInputs(signatureOf(metadata.inputs, metadata.outputs));
    if (shapes === undefined) {
      throw new PilotlightError(
        'invalid-request',
        "the model can't be measured: its inputs are too large to make up",
      );
    }
    const rows: Row[] = [];
    for (const batch of job.batches) {
      signal.throwIfAborted();
      rows.push(await measureBatch(instances, withBatch(shapes, batch), batch, job.milliseconds));
    }
    const mapped = plan.mapped ? start.files : [];
    let mappedBytes = 0;
    for (const path of mapped) mappedBytes += (await stat(path)).size;
    return { rows, anonymousBytes: anonymousBytes(), mappedBytes };
  } finally {
    await start.release();
    await model.release();
    await Promise.all(instances.map((instance) => instance.retire()));
  }
}

async function measureBatch(
  instances: readonly Instance[],
  inputs: readonly Tensor[],
  batch: number,
  milliseconds: number,
): Promise<Row> {
  // The first run of a shape lays out memory for it.
  await Promise.all(instances.map((instance) => instance.run(copied(inputs), undefined)));
  const latenciesMs: number[] = [];
  const startedMs = performance.now();
  const work = async (instance: Instance): Promise<void> => {
    do {
      const own = copied(inputs);
      const beforeMs = performance.now();
      await instance.run(own, undefined);
      latenciesMs.push(performance.now() - beforeMs);
    } while (performance.now() - startedMs < milliseconds);
  };
  await Promise.all(instances.map(work));
  const elapsedMs = performance.now() - startedMs;
  latenciesMs.sort((a, b) => a - b);
  const at = (share: number): number => latenciesMs[Math.ceil(share * latenciesMs.length) - 1] ?? 0;
  const itemsPerSecond = (latenciesMs.length * batch * 1000) / elapsedMs;
  return { batch, runs: latenciesMs.length, p50Ms: at(0.5), p95Ms: at(0.95), itemsPerSecond };
}

/** A run takes the memory of its inputs. */
function copied(inputs: readonly Tensor[]): Tensor[] {
  return inputs.map((tensor) => ({ ...tensor, data: tensor.data.slice() }));
}

/** Inputs of one item, `batch` of them side by side. */
function withBatch(shapes: readonly Tensor[], batch: number): Tensor[] {
  const wide = shapes.map((tensor) => {
    const data = allocateData(tensor.datatype, tensor.data.length * batch);
    return { ...tensor, shape: [(tensor.shape[0] ?? 1) * batch, ...tensor.shape.slice(1)], data };
  });
  return madeUpInputs(batch === 1 ? shapes : wide, 1);
}
