import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { PilotlightError } from '../../contracts/errors.ts';
import type { BatchRule } from '../core/batching.ts';
import { type WaitingCall, WaitingList } from './waiting-list.ts';

const ONE_BY_ONE: BatchRule = { maxBatchSize: 1, maxLatencyMs: 0 };

function waitingCall(
  options: {
    deadlineMs?: number;
    sizeBytes?: number;
    signal?: AbortSignal;
    priority?: number;
    key?: string;
  } = {},
) {
  const outcome: { error: PilotlightError | undefined } = { error: undefined };
  const { priority } = options;
  const waiting: WaitingCall = {
    call: {
      inputs: [],
      deadlineMs: options.deadlineMs ?? Number.POSITIVE_INFINITY,
      signal: options.signal ?? new AbortController().signal,
      ...(priority !== undefined && { priority }),
    },
    queuedAtMs: 0,
    key: options.key,
    rows: 1,
    sizeBytes: options.sizeBytes ?? 10,
    reject: (error) => {
      outcome.error = error;
    },
  };
  return { waiting, outcome };
}

/** The one call that is to run next, if any. */
function nextOf(list: WaitingList, nowMs: number): WaitingCall | undefined {
  const choice = list.next(ONE_BY_ONE, nowMs);
  if (choice.kind !== 'run') return undefined;
  expect(choice.calls).toHaveLength(1);
  return choice.calls[0];
}

test('the oldest call is next', () => {
  const list = new WaitingList({ maxCalls: 3, maxBytes: 1000 });
  const calls = [waitingCall(), waitingCall(), waitingCall()];
  for (const { waiting } of calls) list.add(waiting);
  expect(calls.map(() => nextOf(list, 0))).toEqual(calls.map(({ waiting }) => waiting));
  expect(nextOf(list, 0)).toBeUndefined();
});

test('a call of a higher priority goes before those that wait already; 100 is the default', () => {
  const list = new WaitingList({ maxCalls: 4, maxBytes: 1000 });
  const [usual, low, high, last] = [undefined, 101, 99, undefined].map((priority) =>
    waitingCall(priority === undefined ? {} : { priority }),
  );
  for (const one of [usual, low, high, last]) if (one !== undefined) list.add(one.waiting);
  const order = [high, usual, last, low];
  expect(order.map(() => nextOf(list, 0))).toEqual(order.map((one) => one?.waiting));
});

test('calls that fit together are taken out together, without those that nobody wants any more', () => {
  const list = new WaitingList({ maxCalls: 4, maxBytes: 1000 });
  const [a, late, b, other] = [{}, { deadlineMs: 5 }, {}, { key: 'other' }].map((more) =>
    waitingCall({ key: 'same', ...more }),
  );
  for (const one of [a, late, b, other]) if (one !== undefined) list.add(one.waiting);
  const choice = list.next({ maxBatchSize: 8, maxLatencyMs: 0 }, 10);
  expect(choice).toEqual({ kind: 'run', calls: [a?.waiting, b?.waiting] });
  expect(late?.outcome.error?.code).toBe('inference-timeout');
  expect(list.size).toBe(1);
});

test('a sweep drops those whose time is over and says when the next one’s will be', () => {
  const list = new WaitingList({ maxCalls: 4, maxBytes: 1000 });
  const [late, soon, later] = [10, 30, 20].map((deadlineMs) => waitingCall({ deadlineMs }));
  for (const one of [late, soon, later]) if (one !== undefined) list.add(one.waiting);
  expect(list.sweep(15)).toBe(20);
  expect(late?.outcome.error?.code).toBe('inference-timeout');
  expect(list.sweep(30)).toBe(Number.POSITIVE_INFINITY);
  expect(list.bytes).toBe(0);
});

test('a call whose client left or whose deadline passed is rejected, and the next one taken', () => {
  const list = new WaitingList({ maxCalls: 3, maxBytes: 1000 });
  const left = waitingCall({ signal: AbortSignal.abort() });
  const late = waitingCall({ deadlineMs: 50 });
  const good = waitingCall({ deadlineMs: 51 });
  for (const { waiting } of [left, late, good]) list.add(waiting);
  expect(nextOf(list, 50)).toBe(good.waiting);
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
          expect(nextOf(list, 0)).toBe(model.shift());
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
