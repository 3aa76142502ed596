import { KubeError } from './kube-error.ts';

/** When a call ends at the latest: at its deadline, by its caller's signal, or with the client. */
export interface CallEnding {
  /** Aborts with a {@link KubeError} as its reason: `timeout` or `aborted`. */
  readonly signal: AbortSignal;
  remainingMs(): number;
  /** Lets go of timer and listeners, once the call is over. */
  [Symbol.dispose](): void;
}

export function endingOf(
  call: string,
  timeoutMs: number,
  signals: readonly (AbortSignal | undefined)[],
): CallEnding {
  const controller = new AbortController();
  const deadlineMs = performance.now() + timeoutMs;
  const timer = setTimeout(() => {
    controller.abort(new KubeError('timeout', `${call}: no answer within ${timeoutMs} ms`));
  }, timeoutMs);
  const aborted = (): void => controller.abort(new KubeError('aborted', `${call}: ended by its caller`));
  for (const signal of signals) {
    if (signal?.aborted === true) aborted();
    signal?.addEventListener('abort', aborted, { once: true });
  }
  return {
    signal: controller.signal,
    remainingMs: () => deadlineMs - performance.now(),
    [Symbol.dispose]() {
      clearTimeout(timer);
      for (const signal of signals) signal?.removeEventListener('abort', aborted);
    },
  };
}
