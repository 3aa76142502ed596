import type { ErrorCode } from '../../contracts/errors.ts';

/** What decides about a claim: pure, so that every order of events can be tested. */
export interface ClaimHolding {
  phase: 'standby' | 'specialising' | 'ready' | 'draining' | 'failed';
  /** Undefined on standby, and in a runtime that serves on its own. */
  claimId: string | undefined;
  /** Highest epoch seen by this process in all of its incarnations; 0 before the first. */
  highestEpoch: number;
  /** Code of a user was loaded into this process. */
  ranUserCode: boolean;
}

export interface ClaimCall {
  claimId: string;
  epoch: number;
}

export type ClaimDecision =
  | { kind: 'accept' }
  | { kind: 'same' }
  | { kind: 'refuse'; code: ErrorCode; message: string };

/** May this call have the standby? The first wins, and the same claim again is the same claim. */
export function decideSpecialise(holding: ClaimHolding, call: ClaimCall): ClaimDecision {
  const stale = staleEpoch(holding, call);
  if (stale !== undefined) return stale;
  if (holding.claimId === call.claimId) return { kind: 'same' };
  if (holding.phase === 'standby') return { kind: 'accept' };
  return refuse(`this runtime is ${holding.phase} for ${holder(holding)}; take another standby`);
}

/** May this call drain what the runtime holds? */
export function decideDrain(holding: ClaimHolding, call: ClaimCall): ClaimDecision {
  const stale = staleEpoch(holding, call);
  if (stale !== undefined) return stale;
  if (holding.claimId === call.claimId) return { kind: 'accept' };
  return refuse(`this runtime is ${holding.phase} for ${holder(holding)}, not for claim '${call.claimId}'`);
}

/**
 * May this call recycle the process? Only what was drained or has failed: nobody's request is cut off. And nothing in
 * which a user's code ran: the new process would have its files, its environment and whatever was changed there.
 */
export function decideRecycle(holding: ClaimHolding, call: ClaimCall): ClaimDecision {
  const decision = decideDrain(holding, call);
  if (decision.kind === 'accept' && holding.ranUserCode) {
    const message =
      "this runtime ran code of its service's own (transform), which may have left anything behind: end the process or pod instead";
    return { kind: 'refuse', code: 'not-recyclable', message };
  }
  if (decision.kind !== 'accept' || holding.phase === 'draining' || holding.phase === 'failed')
    return decision;
  return refuse(`this runtime is ${holding.phase}; drain it before it is recycled`);
}

function staleEpoch({ highestEpoch }: ClaimHolding, { epoch }: ClaimCall): ClaimDecision | undefined {
  if (epoch >= highestEpoch) return undefined;
  const message = `epoch ${epoch} is over: this runtime has heard from epoch ${highestEpoch}; a controller that no longer leads must not claim`;
  return { kind: 'refuse', code: 'stale-epoch', message };
}

function refuse(message: string): ClaimDecision {
  return { kind: 'refuse', code: 'claim-conflict', message };
}

function holder({ claimId }: ClaimHolding): string {
  return claimId === undefined ? 'nobody' : `claim '${claimId}'`;
}
