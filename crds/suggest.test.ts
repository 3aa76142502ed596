import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { editDistance, suggest } from './suggest.ts';

describe('suggest', () => {
  it.each([
    ['minReplica', 'minReplicas'],
    ['min_replicas', 'minReplicas'],
    ['MINREPLICAS', 'minReplicas'],
    ['maxRepilcas', 'maxReplicas'],
  ])('takes %s for %s', (word, meant) => {
    expect(suggest(word, ['minReplicas', 'maxReplicas', 'timeout'])).toBe(meant);
  });

  it('stays silent when nothing is near', () => {
    expect(suggest('colour', ['minReplicas', 'maxReplicas', 'timeout'])).toBeUndefined();
    expect(suggest('', ['a'])).toBeUndefined();
    expect(suggest('x'.repeat(1_000), ['x'.repeat(999)])).toBeUndefined();
  });
});

describe('editDistance', () => {
  it('counts one edit of each sort as one', () => {
    expect(['ab', 'abcd', 'acb', 'abx', 'abc'].map((word) => editDistance(word, 'abc'))).toEqual([
      1, 1, 1, 1, 0,
    ]);
  });

  it('is symmetric, zero only for equal words, and at most the longer length', () => {
    const word = fc.string({ maxLength: 12 });
    fc.assert(
      fc.property(word, word, (left, right) => {
        const distance = editDistance(left, right);
        expect(distance).toBe(editDistance(right, left));
        expect(distance === 0).toBe(left === right);
        expect(distance).toBeLessThanOrEqual(Math.max(left.length, right.length));
      }),
    );
  });
});
