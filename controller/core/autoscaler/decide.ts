import type { AutoscalerState, Decision, Observation } from './decision.ts';
import type { AutoscalerSpec } from './spec.ts';

/**
 * How many replicas a revision should have, in total, and whether its requests go through an activator.
 *
 * @param state What the last call returned; `undefined` the first time.
 * @param nowMs Epoch ms. It may stand still, jump or go back.
 */
export function decide(
  state: AutoscalerState | undefined,
  observed: Observation,
  spec: AutoscalerSpec,
  nowMs: number,
): Decision {
  void [state, observed, spec, nowMs];
  throw new Error('the decision itself comes with the next commit');
}
