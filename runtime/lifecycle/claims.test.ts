import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type ClaimHolding, decideDrain, decideRecycle, decideSpecialise } from './claims.ts';

const standby: ClaimHolding = { phase: 'standby', claimId: undefined, highestEpoch: 3, ranUserCode: false };
const held = (phase: ClaimHolding['phase']): ClaimHolding => ({
  phase,
  claimId: 'a',
  highestEpoch: 3,
  ranUserCode: false,
});

test('the first claim has the standby', () => {
  expect(decideSpecialise(standby, { claimId: 'a', epoch: 3 })).toEqual({ kind: 'accept' });
});

test('the same claim again is the same claim, by a later leader too', () => {
  expect(decideSpecialise(held('specialising'), { claimId: 'a', epoch: 3 })).toEqual({ kind: 'same' });
  expect(decideSpecialise(held('failed'), { claimId: 'a', epoch: 4 })).toEqual({ kind: 'same' });
});

test('another claim is refused whatever the runtime does with its own', () => {
  for (const phase of ['specialising', 'ready', 'draining', 'failed'] as const) {
    expect(decideSpecialise(held(phase), { claimId: 'b', epoch: 9 })).toMatchObject({
      code: 'claim-conflict',
    });
  }
});

test('a runtime that serves on its own is nobody’s to claim, drain or recycle', () => {
  const own: ClaimHolding = { phase: 'ready', claimId: undefined, highestEpoch: 0, ranUserCode: false };
  for (const decide of [decideSpecialise, decideDrain, decideRecycle]) {
    expect(decide(own, { claimId: 'a', epoch: 1 })).toMatchObject({ code: 'claim-conflict' });
  }
});

test('only what was drained or has failed is recycled, and only by its claim', () => {
  expect(decideRecycle(held('draining'), { claimId: 'a', epoch: 3 })).toEqual({ kind: 'accept' });
  expect(decideRecycle(held('failed'), { claimId: 'a', epoch: 3 })).toEqual({ kind: 'accept' });
  expect(decideRecycle(held('ready'), { claimId: 'a', epoch: 3 })).toMatchObject({ code: 'claim-conflict' });
  expect(decideRecycle(held('specialising'), { claimId: 'a', epoch: 3 })).toMatchObject({
    code: 'claim-conflict',
  });
  expect(decideRecycle(held('draining'), { claimId: 'b', epoch: 3 })).toMatchObject({
    code: 'claim-conflict',
  });
  expect(decideRecycle(standby, { claimId: 'a', epoch: 3 })).toMatchObject({ code: 'claim-conflict' });
});

const callArbitrary = fc.record({ claimId: fc.constantFrom('a', 'b', 'c'), epoch: fc.nat(5) });

test('in any order of claims, one claim at most is accepted, and no epoch ever falls', () => {
  fc.assert(
    fc.property(fc.array(callArbitrary, { maxLength: 20 }), (calls) => {
      let holding: ClaimHolding = {
        phase: 'standby',
        claimId: undefined,
        highestEpoch: 0,
        ranUserCode: false,
      };
      const accepted: string[] = [];
      for (const call of calls) {
        const decision = decideSpecialise(holding, call);
        if (decision.kind === 'refuse') {
          const stale = call.epoch < holding.highestEpoch;
          expect(decision.code).toBe(stale ? 'stale-epoch' : 'claim-conflict');
          continue;
        }
        expect(call.epoch).toBeGreaterThanOrEqual(holding.highestEpoch);
        if (decision.kind === 'accept') accepted.push(call.claimId);
        else expect(accepted).toEqual([call.claimId]);
        holding = {
          phase: 'specialising',
          claimId: accepted[0],
          highestEpoch: call.epoch,
          ranUserCode: false,
        };
      }
      expect(accepted.length).toBeLessThanOrEqual(1);
    }),
  );
});

test('a deposed leader can do nothing at all', () => {
  fc.assert(
    fc.property(
      fc.constantFrom('standby', 'specialising', 'ready', 'draining', 'failed'),
      fc.constantFrom('a', 'b', undefined),
      fc.nat(10),
      (phase, claimId, epoch) => {
        const holding: ClaimHolding = { phase, claimId, highestEpoch: 11, ranUserCode: false };
        for (const decide of [decideSpecialise, decideDrain, decideRecycle]) {
          expect(decide(holding, { claimId: 'a', epoch })).toMatchObject({ code: 'stale-epoch' });
        }
      },
    ),
  );
});
