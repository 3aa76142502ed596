import type { ModelSignature } from '../core/model-signature.ts';
import type { Tensor } from '../core/tensor.ts';
import type { Instance } from './instance.ts';
import { warmUpInputs } from './warm-up-input.ts';

export interface WarmUp {
  /** Inputs of one run after the other, in place of one run on made-up ones. A run takes their memory. */
  samples?: (() => Promise<Iterable<readonly Tensor[]>>) | undefined;
  signal: AbortSignal;
  observer: {
    warmed: (warmUpMs: number) => void;
    warmUpSkipped: (reason: string) => void;
  };
}

/** Runs a model before anybody asks. What fails is told, and no failure of the model. */
export async function warmUp(
  instance: Instance,
  signature: ModelSignature,
  { samples, signal, observer }: WarmUp,
): Promise<void> {
  const startedMs = performance.now();
  try {
    const runs = samples === undefined ? madeUp(signature) : await samples();
    if (runs === undefined) {
      observer.warmUpSkipped('the shapes of its inputs are too large to make up');
      return;
    }
    for (const inputs of runs) {
      await instance.run(inputs, undefined);
      if (signal.aborted) return;
    }
    observer.warmed(performance.now() - startedMs);
  } catch (error) {
    if (instance.lost) throw error;
    observer.warmUpSkipped(error instanceof Error ? error.message : String(error));
  }
}

function madeUp(signature: ModelSignature): Iterable<readonly Tensor[]> | undefined {
  const inputs = warmUpInputs(signature);
  return inputs && [inputs];
}
