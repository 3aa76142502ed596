import fc from 'fast-check';
import { expect, test } from 'vitest';
import { PriorityQueue } from './priority-queue.ts';

test('items come by priority, and within one in the order of their arrival, whatever is taken out meanwhile', () => {
  const step = fc.oneof(
    fc.record({ kind: fc.constant('add' as const), priority: fc.nat(3) }),
    fc.record({ kind: fc.constant('remove' as const), index: fc.nat(9) }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 50 }), (steps) => {
      const queue = new PriorityQueue<{ priority: number; number: number }>();
      let model: { priority: number; number: number }[] = [];
      for (const [number, action] of steps.entries()) {
        if (action.kind === 'add') {
          const item = { priority: action.priority, number };
          queue.add(item, item.priority);
          model.push(item);
        } else {
          const victim = model[action.index];
          if (victim !== undefined) expect(queue.remove(victim)).toBe(true);
          model = model.filter((item) => item !== victim);
          if (victim !== undefined) expect(queue.remove(victim)).toBe(false);
        }
        const sorted = model.toSorted(
          (left, right) => left.priority - right.priority || left.number - right.number,
        );
        expect([...queue]).toEqual(sorted);
        expect(queue.size).toBe(model.length);
      }
    }),
  );
});

test('all can be taken out while they are walked through', () => {
  const queue = new PriorityQueue<number>();
  for (const item of [3, 1, 2, 11, 12]) queue.add(item, item % 10);
  const seen: number[] = [];
  for (const item of queue) {
    seen.push(item);
    queue.remove(item);
  }
  expect(seen).toEqual([1, 11, 2, 12, 3]);
  expect(queue.size).toBe(0);
});
