import { setTimeout as delay } from 'node:timers/promises';
import { ClusterError } from './errors.ts';

/**
 * Asks again and again until there is an answer.
 *
 * @param what for the error: what was waited for ("the Docker engine answers")
 * @param ask returns undefined or false for "not yet"; an error ends the wait
 * @throws ClusterError E2E_NOT_IN_TIME
 */
export async function until<T>(
  what: string,
  timeoutMs: number,
  ask: () => Promise<T | undefined | false>,
  everyMs = 100,
): Promise<T> {
  const deadlineMs = performance.now() + timeoutMs;
  for (;;) {
    const answer = await ask();
    if (answer !== undefined && answer !== false) return answer;
    if (performance.now() > deadlineMs) {
      throw new ClusterError('E2E_NOT_IN_TIME', `waited ${timeoutMs / 1000} s in vain: ${what}`);
    }
    await delay(everyMs);
  }
}
