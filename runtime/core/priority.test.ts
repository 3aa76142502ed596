import { expect, test } from 'vitest';
import { parsePriority } from './priority.ts';

test('1 and up are priorities, 0 and none are the default', () => {
  expect(parsePriority(1)).toBe(1);
  expect(parsePriority(4_294_967_295n)).toBe(4_294_967_295);
  expect(parsePriority(0)).toBeUndefined();
  expect(parsePriority(undefined)).toBeUndefined();
});

test.each(['1', -1, 1.5, true, 2 ** 32, Number.NaN, 2n ** 63n])('%s is refused', (value) => {
  expect(() => parsePriority(value)).toThrow(/"priority": expected a whole number from 0 .* got/);
});
