import { anonymousBytes } from '../engine/memory-fit.ts';
import type { ModelForms } from '../engine/model-forms.ts';
import { processLimits } from '../engine/process-limits.ts';
import { Settling } from '../engine/settling.ts';
import { findStart, type StartingPoint } from '../engine/starting-point.ts';
import type { OpenedModel } from '../storage/open-model.ts';

/** What a runtime does behind its first answer, done now. @returns the best form, leased, where there is a better one */
export async function settleForm(
  model: OpenedModel,
  forms: ModelForms,
  observer: { onLeft: (reason: string) => void; onNotCompiled: (reason: string) => void },
): Promise<StartingPoint | undefined> {
  const start = await findStart(model, forms, observer.onLeft);
  const { memoryBytes } = processLimits();
  try {
    return await new Settling({
      forms,
      start,
      sizeBytes: model.sizeBytes,
      freeBytes: () => memoryBytes - anonymousBytes(),
      onNotCompiled: observer.onNotCompiled,
    }).settle();
  } finally {
    await start.release();
  }
}
