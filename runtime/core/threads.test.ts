import fc from 'fast-check';
import { expect, test } from 'vitest';
import { planThreads } from './threads.ts';

test.each([
  [0.25, 1],
  [1, 1],
  [1.5, 1],
  [2, 2],
  [7.9, 7],
  [64, 64],
])('%s CPUs give one instance of %s threads', (cpus, threadsPerInstance) => {
  expect(planThreads(cpus)).toEqual({ instances: 1, threadsPerInstance });
});

test('instances share the CPUs, and what the operator chose stands', () => {
  expect(planThreads(8, { instances: 3 })).toEqual({ instances: 3, threadsPerInstance: 2 });
  expect(planThreads(2, { instances: 4 })).toEqual({ instances: 4, threadsPerInstance: 1 });
  expect(planThreads(8, { threadsPerInstance: 2 })).toEqual({ instances: 1, threadsPerInstance: 2 });
});

test('the default never takes more threads than there are whole CPUs, and always one', () => {
  fc.assert(
    fc.property(fc.double({ min: 0.01, max: 256, noNaN: true }), (cpus) => {
      const { instances, threadsPerInstance } = planThreads(cpus);
      expect(instances * threadsPerInstance).toBeLessThanOrEqual(Math.max(1, cpus));
      expect(threadsPerInstance).toBeGreaterThanOrEqual(1);
    }),
  );
});

test.each([0, -1, 1.5, Number.NaN, 5000])('%s instances are refused', (instances) => {
  expect(() => planThreads(4, { instances })).toThrow('instances must be a whole number from 1 to 1024');
});
