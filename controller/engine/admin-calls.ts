import { toPilotlightError } from '../../contracts/errors.ts';
import type { AdminCall, EngineContext } from './engine-context.ts';

/** Answers of a runtime that works and says no. */
const REFUSALS = new Set<string>(['claim-conflict', 'stale-epoch']);

/** Counts a call to a replica's admin port when it is over. A load that failed was a good call. */
export function countAdminCall(context: EngineContext, call: AdminCall, outcome: Promise<unknown>): void {
  outcome.then(
    () => context.counters.adminCall(call, 'ok'),
    (thrown: unknown) => {
      const { code } = toPilotlightError(thrown);
      context.counters.adminCall(call, REFUSALS.has(code) ? 'refused' : 'failed');
    },
  );
}
