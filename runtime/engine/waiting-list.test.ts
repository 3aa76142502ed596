import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { PilotlightError } from '../../contracts/errors.ts';
import { type WaitingCall, WaitingList } from './waiting-list.ts';

function waitingCall(options: { deadlineMs?: number; sizeBytes?: number; signal?: AbortSignal } = {}) {
  const outcome: { taken: boolean; error: PilotlightError | undefined } = { taken: false, error: undefined };
  const waiting: WaitingCall = {
    call: {
      inputs: [],
      deadlineMs: options.deadlineMs ?? Number.POSITIVE_INFINITY,
      signal: options.signal ?? new AbortController().signal,
    },
    queuedAtMs: 0,
    sizeBytes: options.sizeBytes ?? 10,
    take: () => {
      outcome.taken = true;
    },
    reject: (error) => {
      outcome.error = error;
    },
  };
  return { waiting, outcome };
}

test('the oldest call is next', () => {
  const list = new WaitingList({ maxCalls: 3, maxBytes: 1000 });
  const calls = [waitingCall(), waitingCall(), waitingCall()];
  for (const { waiting } of calls) list.add(waiting);
  expect(calls.map(() => list.next(0))).toEqual(calls.map(({ waiting }) => waiting));
  expect(list.next(0)).toBeUndefined();
});

test('a call whose client left or whose deadline passed is rejected, and the next one taken', () => {
  const list = new WaitingList({ maxCalls: 3, maxBytes: 1000 });
  const left = waitingCall({ signal: AbortSignal.abort() });
  const late = waitingCall({ deadlineMs: 50 });
  const good = waitingCall({ deadlineMs: 51 });
  for (const { waiting } of [left, late, good]) list.add(waiting);
  expect(list.next(50)).toBe(good.waiting);
  expect(left.outcome.error?.code).toBe('client-closed');
  expect(late.outcome.error?.code).toBe('inference-timeout');
});

test('a list that is full by count refuses with 503 and says when to come again', () => {
  const list = new WaitingList({ maxCalls: 1, maxBytes: 1000 });
  list.add(waitingCall().waiting);
  expect(() => list.add(waitingCall().waiting)).toThrow(
    expect.objectContaining({ code: 'server-busy', status: 503, retryAfterSeconds: 1 }),
  );
});

test('a list that is full by bytes refuses, but one call is let in whatever its size', () => {
  const list = new WaitingList({ maxCalls: 10, maxBytes: 100 });
  list.add(waitingCall({ sizeBytes: 5000 }).waiting);
  expect(() => list.add(waitingCall({ sizeBytes: 1 }).waiting)).toThrow(/100 bytes of input/);
});

test('whatever comes and goes, the bounds hold and the bytes are those of the calls in the list', () => {
  const step = fc.oneof(
    fc.record({ kind: fc.constant('add' as const), sizeBytes: fc.nat(60) }),
    fc.record({ kind: fc.constant('next' as const) }),
    fc.record({ kind: fc.constant('remove' as const), index: fc.nat(9) }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const list = new WaitingList({ maxCalls: 4, maxBytes: 100 });
      let model: WaitingCall[] = [];
      for (const action of steps) {
        if (action.kind === 'add') {
          const { waiting } = waitingCall({ sizeBytes: action.sizeBytes });
          const bytes = model.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
          const fits = model.length < 4 && (model.length === 0 || bytes + action.sizeBytes <= 100);
          if (fits) {
            list.add(waiting);
            model.push(waiting);
          } else expect(() => list.add(waiting)).toThrow();
        } else if (action.kind === 'next') {
          expect(list.next(0)).toBe(model.shift());
        } else {
          const victim = model[action.index];
          if (victim !== undefined) expect(list.remove(victim)).toBe(true);
          model = model.filter((waiting) => waiting !== victim);
          if (victim !== undefined) expect(list.remove(victim)).toBe(false);
        }
        expect(list.size).toBe(model.length);
        expect(list.bytes).toBe(model.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0));
      }
    }),
  );
});
