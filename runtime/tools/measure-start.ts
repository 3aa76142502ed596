import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { PilotlightError } from '../../contracts/errors.ts';
import type { MeasureStartJob, StartMeasure } from '../../contracts/model-tools.ts';
import { Instance } from '../engine/instance.ts';
import { processLimits } from '../engine/process-limits.ts';
import { quickPlan } from '../engine/session-options.ts';
import { signatureOf } from '../engine/signature.ts';
import { findStart, readStartAhead, type StartingPoint } from '../engine/starting-point.ts';
import { warmUpInputs } from '../engine/warm-up-input.ts';
import type { ToolVoice } from './main.ts';
import { openWithForms } from './opened-model.ts';

/**
 * One start, the way a standby that is claimed makes it: from the order to the end of the first run, in a process whose
 * worker has loaded ONNX Runtime and nothing else.
 */
export async function measureStart(
  job: MeasureStartJob,
  voice: ToolVoice,
  signal: AbortSignal,
): Promise<StartMeasure> {
  if (job.dropsPages) await dropPages(job, voice, signal);
  const instance = new Instance();
  await instance.started();
  const startedMs = performance.now();
  const { model, forms } = await openWithForms(job, signal);
  const start = await findStart(model, forms, () => undefined);
  try {
    const coldBytes = await readStartAhead(start, signal);
    const openedMs = performance.now() - startedMs;
    const plan = quickPlan(start, {
      threadsPerInstance: Math.max(1, Math.floor(processLimits().cpus)),
      sizeBytes: model.sizeBytes,
    });
    const { inputs, outputs } = await instance.create(plan);
    const createdMs = performance.now() - startedMs;
    const made = warmUpInputs(signatureOf(inputs, outputs));
    if (made === undefined) throw noInput('the shapes of its inputs are too large to make up');
    await instance.run(made, undefined);
    const totalMs = performance.now() - startedMs;
    const firstRunMs = totalMs - createdMs;
    return { openedMs, createMs: createdMs - openedMs, firstRunMs, totalMs, coldBytes, kind: start.kind };
  } finally {
    await start.release();
    await model.release();
    await instance.retire();
  }
}

function noInput(why: string): PilotlightError {
  return new PilotlightError('invalid-request', `the model can't be measured: ${why}`);
}

/** Of the files that the start will be made from, and of no others: the machine is not ours alone. */
async function dropPages(job: MeasureStartJob, voice: ToolVoice, signal: AbortSignal): Promise<void> {
  const { model, forms } = await openWithForms(job, signal);
  let start: StartingPoint | undefined;
  try {
    start = await findStart(model, forms, () => undefined);
    for (const path of start.files) await dropFile(path, signal);
  } catch (error) {
    signal.throwIfAborted();
    voice.note(`pages could not be dropped: ${error instanceof Error ? error.message : String(error)}`);
  } finally {
    await start?.release();
    await model.release();
  }
}

/** Node has no posix_fadvise; GNU dd has, and with a count of 0 it reads nothing. Pages not yet written stay. */
async function dropFile(path: string, signal: AbortSignal): Promise<void> {
  const run = promisify(execFile);
  await run('sync', [path], { signal });
  await run('dd', [`if=${path}`, 'iflag=nocache', 'count=0', 'status=none'], { signal });
}
