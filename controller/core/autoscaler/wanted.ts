import type { ReasonCode } from './decision.ts';
import type { AutoscalerSpec } from './spec.ts';

/** A count on its way through the rules, with a note for each rule that changed it. */
export interface Wanted {
  readonly count: number;
  readonly code: ReasonCode;
  readonly notes: readonly string[];
}

/** The same count if it is `count` already, else changed, with the rule that did it. */
export function change(wanted: Wanted, count: number, code: ReasonCode, note: string): Wanted {
  return count === wanted.count ? wanted : { count, code, notes: [...wanted.notes, note] };
}

/**
 * Replicas that carry a load, rounded up. The quotient may be off in the last digits: 2.1 / (3 × 0.7) is
 * 1.0000000000000002, and that is 1 replica.
 */
export function replicasFor(load: number, target: number): number {
  return Math.ceil(Number((load / target).toPrecision(12)));
}

/**
 * Keeps one step between the rates, then raises what is not zero to the activation scale. With 4 ready,
 * rates of 10 and 2: at most 40, at least 2. `ceil` and `floor` let 1 × 1.1 grow to 2 and 1 / 2 go to 0.
 */
export function limitStep(
  unlimited: number,
  code: ReasonCode,
  readyOrOne: number,
  spec: AutoscalerSpec,
): Wanted {
  const most = Math.ceil(spec.maxScaleUpRate * readyOrOne);
  const least = Math.floor(readyOrOne / spec.maxScaleDownRate);
  let wanted: Wanted = { count: unlimited, code, notes: [] };
  wanted = change(
    wanted,
    Math.max(wanted.count, least),
    'scale-down-rate',
    `maxScaleDownRate ${spec.maxScaleDownRate} keeps ${least} of ${readyOrOne} ready`,
  );
  wanted = change(
    wanted,
    Math.min(wanted.count, most),
    'scale-up-rate',
    `maxScaleUpRate ${spec.maxScaleUpRate} allows ${most} from ${readyOrOne} ready`,
  );
  if (unlimited === 0) return wanted;
  const floor = Math.max(wanted.count, spec.activationScale);
  return change(wanted, floor, 'activation-scale', `activationScale is ${spec.activationScale}`);
}

/** At least `minReplicas`, and the initial scale until it has been reached; at most `maxReplicas`. */
export function bound(wanted: Wanted, initialised: boolean, spec: AutoscalerSpec): Wanted {
  const initial = initialised ? 0 : spec.initialScale;
  const raised =
    initial > spec.minReplicas
      ? change(wanted, Math.max(wanted.count, initial), 'initial-scale', `initialScale is ${initial}`)
      : change(
          wanted,
          Math.max(wanted.count, spec.minReplicas),
          'min-replicas',
          `minReplicas is ${spec.minReplicas}`,
        );
  if (spec.maxReplicas === 0) return raised;
  const note = `maxReplicas is ${spec.maxReplicas}`;
  return change(raised, Math.min(raised.count, spec.maxReplicas), 'max-replicas', note);
}
