export interface LoadResult {
  /** Of every answered request, ascending. */
  readonly latenciesMs: readonly number[];
  readonly failures: readonly unknown[];
  readonly elapsedMs: number;
}

/**
 * Closed-loop load: each client sends its next request when the last one is answered.
 *
 * @param goesOn asked before each request; once false, what is under way is waited for.
 * @param send resolves with the duration in ms, rejects when the request is lost or the answer is wrong.
 */
export async function runLoad(
  clients: number,
  goesOn: () => boolean,
  send: () => Promise<number>,
): Promise<LoadResult> {
  const latenciesMs: number[] = [];
  const failures: unknown[] = [];
  const fromMs = performance.now();
  await Promise.all(
    Array.from({ length: clients }, async () => {
      // One failure ends the demonstration: what comes after it would only repeat it.
      while (goesOn() && failures.length === 0) {
        try {
          latenciesMs.push(await send());
        } catch (error) {
          failures.push(error);
        }
      }
    }),
  );
  latenciesMs.sort((one, other) => one - other);
  return { latenciesMs, failures, elapsedMs: performance.now() - fromMs };
}
