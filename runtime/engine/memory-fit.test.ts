import { expect, test } from 'vitest';
import { doesNotFit, fittingInstances } from './memory-fit.ts';

const MB = 1e6;
const need = {
  sizeBytes: 400 * MB,
  mapped: false,
  instances: 1,
  residentBytes: 120 * MB,
  limitBytes: 1_050 * MB,
};

test('400 MB inline need 897 MB and fit into 1,050 MB of which 120 are taken', () => {
  expect(fittingInstances(need)).toBe(1);
  expect(fittingInstances({ ...need, limitBytes: 1_000 * MB })).toBe(0);
});

test('mapped weights are pages of the file: nine instances of 400 MB fit where one inline does', () => {
  expect(fittingInstances({ ...need, mapped: true, instances: 9 })).toBe(9);
});

test('no more instances than wanted, and never fewer than none', () => {
  expect(fittingInstances({ ...need, instances: 3, limitBytes: 1e12 })).toBe(3);
  expect(fittingInstances({ ...need, limitBytes: 1 })).toBe(0);
});

test('the refusal names every figure', () => {
  const { code, message } = doesNotFit({ ...need, limitBytes: 500 * MB });
  expect(code).toBe('model-out-of-memory');
  expect(message).toContain('400 MB needs about 897 MB for each of 1 instance(s)');
  expect(message).toContain('memory limit of 500 MB 120 MB are taken');
});
