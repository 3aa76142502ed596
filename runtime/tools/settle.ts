import type { SettledModel, SettleJob } from '../../contracts/model-tools.ts';
import { isVariable, type ModelSignature } from '../core/model-signature.ts';
import { openSession } from '../engine/open-session.ts';
import { processLimits } from '../engine/process-limits.ts';
import { openWithForms } from './opened-model.ts';
import { settleForm } from './settle-form.ts';

/** Makes the best form of a model in a cache of one's own, and looks at its signature. */
export async function settle(job: SettleJob, signal: AbortSignal): Promise<SettledModel> {
  const { model, forms } = await openWithForms(job, signal);
  try {
    const ignore = (): void => undefined;
    const better =
      forms === undefined
        ? undefined
        : await settleForm(model, forms, { onLeft: ignore, onNotCompiled: ignore });
    await better?.release();
    const { instance, signature } = await openSession(model, 1);
    await instance.retire();
    return {
      kind: better?.kind ?? 'plain',
      sizeBytes: model.sizeBytes,
      takesBatches: takesBatches(signature),
      ...processLimits(),
    };
  } finally {
    await model.release();
  }
}

function takesBatches({ inputs, outputs }: ModelSignature): boolean {
  return [...inputs, ...outputs].every(({ shape: [first] }) => first !== undefined && isVariable(first));
}
