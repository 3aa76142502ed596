import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type Batchable, type BatchRule, batchTraits, chooseBatch, NO_BATCHING } from './batching.ts';
import { PriorityQueue } from './priority-queue.ts';
import type { Tensor } from './tensor.ts';
import { concatenateTensors, splitTensors } from './tensor-batch.ts';

const RULE: BatchRule = { maxBatchSize: 4, maxLatencyMs: 0 };

function call(key: string | undefined, rows = 1, queuedAtMs = 0): Batchable {
  return { key, rows, queuedAtMs };
}

function tensor(name: string, shape: readonly number[]): Tensor {
  const count = shape.reduce((product, size) => product * size, 1);
  return { name, datatype: 'FP32', shape, data: new Float32Array(count) };
}

test('the head of the queue takes along what fits with it, up to the size of a batch', () => {
  const queue = [call('a'), call('b'), call('a', 2), call('a', 2), call('a')];
  const choice = chooseBatch(queue, RULE, 0);
  expect(choice).toEqual({ kind: 'run', calls: [queue[0], queue[2]] });
});

test('a call that fits with nobody runs alone, and so does one that is larger than a batch', () => {
  const alone = call(undefined);
  const large = call('a', 9);
  expect(chooseBatch([alone, call('a')], RULE, 0)).toEqual({ kind: 'run', calls: [alone] });
  expect(chooseBatch([large, call('a')], RULE, 0)).toEqual({ kind: 'run', calls: [large] });
  expect(chooseBatch([], RULE, 0)).toEqual({ kind: 'nothing' });
});

test('with a latency a batch waits for its oldest call, and one that is full goes at once', () => {
  const rule: BatchRule = { maxBatchSize: 2, maxLatencyMs: 10 };
  const [a, b, c] = [call('a', 1, 100), call('b', 1, 103), call('b', 1, 104)];
  expect(chooseBatch([a], rule, 105)).toEqual({ kind: 'wait', untilMs: 110 });
  expect(chooseBatch([a], rule, 110)).toEqual({ kind: 'run', calls: [a] });
  expect(chooseBatch([a, b, c], rule, 105)).toEqual({ kind: 'run', calls: [b, c] });
  expect(chooseBatch([a, b, c], rule, 111)).toEqual({ kind: 'run', calls: [a] });
  const alone = call(undefined, 1, 105);
  expect(chooseBatch([a, alone], rule, 106)).toEqual({ kind: 'run', calls: [alone] });
  expect(chooseBatch([a, alone], rule, 110)).toEqual({ kind: 'run', calls: [a] });
});

test('calls fit together with the same shapes behind dimension 0 and the same outputs', () => {
  const keyOf = (inputs: Tensor[], outputs?: string[]) => batchTraits(inputs, outputs, RULE).key;
  expect(batchTraits([tensor('x', [3, 2])], undefined, RULE).rows).toBe(3);
  expect(keyOf([tensor('x', [1, 2])])).toBe(keyOf([tensor('x', [3, 2])]));
  expect(keyOf([tensor('x', [1, 2])])).not.toBe(keyOf([tensor('x', [1, 3])]));
  expect(keyOf([tensor('x', [1, 2])])).not.toBe(keyOf([tensor('x', [1, 2, 1])]));
  expect(keyOf([tensor('a', [1]), tensor('b', [1, 2])])).toBe(keyOf([tensor('b', [2, 2]), tensor('a', [2])]));
  expect(keyOf([tensor('a', [1, 2]), tensor('b', [1])])).not.toBe(
    keyOf([tensor('a', [1]), tensor('b', [1, 2])]),
  );
  expect(keyOf([tensor('x', [1])], ['p', 'q'])).toBe(keyOf([tensor('x', [1])], ['q', 'p']));
  expect(keyOf([tensor('x', [1])], ['p'])).not.toBe(keyOf([tensor('x', [1])]));
});

test('without rows, with inputs that disagree about them, and without batching a call has no company', () => {
  expect(batchTraits([tensor('x', [0, 2])], undefined, RULE).key).toBeUndefined();
  expect(batchTraits([tensor('x', [])], undefined, RULE).key).toBeUndefined();
  expect(batchTraits([tensor('a', [1]), tensor('b', [2])], undefined, RULE).key).toBeUndefined();
  expect(batchTraits([tensor('x', [1])], undefined, NO_BATCHING).key).toBeUndefined();
});

/** Twice the input and its column's number: a model that looks at each row by itself. */
function compute(inputs: readonly Tensor[]): Tensor[] {
  return inputs.map(({ shape, data }) => ({
    name: 'y',
    datatype: 'FP32',
    shape,
    data: (data as Float32Array).map((value, index) => value * 2 + (index % (shape[1] ?? 1))),
  }));
}

interface Request extends Batchable {
  number: number;
  priority: number;
  inputs: Tensor[];
}

test('no call is lost, none answered twice, each is answered as it would be alone, in the order of its kind', () => {
  const arrival = fc.record({
    afterMs: fc.nat(5),
    rows: fc.nat(6),
    columns: fc.integer({ min: 1, max: 3 }),
    priority: fc.integer({ min: 1, max: 3 }),
    runsBefore: fc.nat(2),
  });
  const rules = fc.record({
    maxBatchSize: fc.integer({ min: 1, max: 5 }),
    maxLatencyMs: fc.constantFrom(0, 7),
  });
  fc.assert(
    fc.property(fc.array(arrival, { maxLength: 25 }), rules, (arrivals, rule) => {
      const queue = new PriorityQueue<Request>();
      const requests: Request[] = [];
      const answered: Request[] = [];
      let nowMs = 0;
      const runOne = (): boolean => {
        const waiting = [...queue];
        const choice = chooseBatch(queue, rule, nowMs);
        if (choice.kind === 'wait') {
          expect(choice.untilMs).toBeGreaterThan(nowMs);
          expect(choice.untilMs).toBeLessThanOrEqual(Math.max(...waiting.map((one) => one.queuedAtMs)) + 7);
          nowMs = choice.untilMs;
          return true;
        }
        if (choice.kind === 'nothing') return false;
        const { calls } = choice;
        expect(calls.length).toBeGreaterThan(0);
        if (calls.length > 1) {
          expect(calls.reduce((sum, one) => sum + one.rows, 0)).toBeLessThanOrEqual(rule.maxBatchSize);
        }
        if (rule.maxLatencyMs === 0) expect(calls[0]).toBe(waiting[0]);
        const outputs = compute(concatenateTensors(calls.map(({ inputs }) => inputs)));
        const parts =
          calls.length === 1
            ? [outputs]
            : splitTensors(
                outputs,
                calls.map(({ rows }) => rows),
              );
        for (const [index, one] of calls.entries()) {
          expect(queue.remove(one)).toBe(true);
          expect(parts?.[index]).toEqual(compute(one.inputs));
          answered.push(one);
        }
        return true;
      };
      for (const [number, { afterMs, rows, columns, priority, runsBefore }] of arrivals.entries()) {
        for (let run = 0; run < runsBefore; run += 1) runOne();
        nowMs += afterMs;
        const data = new Float32Array(rows * columns).map((_, index) => number * 100 + index);
        const inputs: Tensor[] = [{ name: 'x', datatype: 'FP32', shape: [rows, columns], data }];
        const request = {
          number,
          priority,
          inputs,
          queuedAtMs: nowMs,
          ...batchTraits(inputs, undefined, rule),
        };
        requests.push(request);
        queue.add(request, priority);
      }
      while (runOne());
      expect(new Set(answered)).toEqual(new Set(requests));
      expect(answered).toHaveLength(requests.length);
      for (const [index, one] of answered.entries()) {
        if (one.key === undefined) continue;
        const behind = answered.slice(index + 1);
        const isOfItsKind = (other: Request): boolean =>
          other.key === one.key && other.priority === one.priority;
        expect(behind.filter(isOfItsKind).every(({ number }) => number > one.number)).toBe(true);
      }
    }),
  );
});
