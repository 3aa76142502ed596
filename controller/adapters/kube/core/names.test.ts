import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { MAX_NAME_LENGTH } from '../../../../crds/inference-service.ts';
import { NAME_PATTERN } from '../../../../crds/metadata.ts';
import { MAX_POOL_NAME_LENGTH } from '../../../../crds/standby-pool.ts';
import { nextPlace, placeOf, poolPodName, replicaPodName } from './names.ts';

const DNS_LABEL = /^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$/;

const nameOf = (maxLength: number) =>
  fc
    .stringMatching(/^[a-z][-a-z0-9]{0,60}$/)
    .map((name) => name.slice(0, maxLength).replace(/-+$/, 'x'))
    .filter((name) => new RegExp(NAME_PATTERN).test(name));
const revision = fc
  .tuple(
    nameOf(MAX_NAME_LENGTH),
    fc.oneof(fc.integer({ min: 1, max: 99_999 }), fc.integer({ min: 1, max: 99_999_999 })),
  )
  .map(([service, number]) => `${service}-${String(number).padStart(5, '0')}`);
const place = fc.record({
  slot: fc.integer({ min: 0, max: 9_999 }),
  incarnation: fc.integer({ min: 1, max: 99_999 }),
});

describe('the name of a replica’s pod', () => {
  it('is revision, slot and incarnation', () => {
    expect(replicaPodName('ocr-00003', { slot: 0, incarnation: 1 })).toBe('ocr-00003-0-1');
  });

  it('is a DNS label of at most 63 characters, from which the place can be read', () => {
    fc.assert(
      fc.property(revision, place, (name, at) => {
        const podName = replicaPodName(name, at);
        expect(podName).toMatch(DNS_LABEL);
        expect(placeOf(podName)).toEqual(at);
      }),
    );
  });

  it('is another one for every other revision, slot or incarnation', () => {
    fc.assert(
      fc.property(fc.tuple(revision, place), fc.tuple(revision, place), (left, right) => {
        const isSame = JSON.stringify(left) === JSON.stringify(right);
        expect(replicaPodName(...left) === replicaPodName(...right)).toBe(isSame);
      }),
    );
  });

  it.each(['ocr-00003', 'ocr-00003-x-1', 'ocr-00003-0-0', 'ocr-00003-00-1', 'pool-b7kx2'])(
    'is not read into %s',
    (name) => {
      expect(placeOf(name)).toBeUndefined();
    },
  );
});

describe('the next place', () => {
  const seen = (...pods: [string, boolean][]) => pods.map(([name, holdsSlot]) => ({ name, holdsSlot }));

  it('is slot 0, incarnation 1 where there was nothing', () => {
    expect(nextPlace([])).toEqual({ slot: 0, incarnation: 1 });
  });

  it('is the lowest free slot', () => {
    expect(nextPlace(seen(['r-0-1', true], ['r-2-1', true]))).toEqual({ slot: 1, incarnation: 1 });
  });

  it('isn’t blocked by a pod that is terminating, yet doesn’t take its name', () => {
    expect(nextPlace(seen(['r-0-7', false], ['r-0-6', false]))).toEqual({ slot: 0, incarnation: 8 });
  });

  it('collides for two controllers that have seen the same, and for nobody else', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(place, fc.boolean()), { maxLength: 20 }), (pods) => {
        const all = pods.map(([at, holdsSlot]) => ({ name: replicaPodName('ocr-00001', at), holdsSlot }));
        const next = nextPlace(all);
        expect(nextPlace(all.toReversed())).toEqual(next);
        expect(all.some(({ name, holdsSlot }) => holdsSlot && placeOf(name)?.slot === next.slot)).toBe(false);
        const isWrapped = pods.some(([at]) => at.incarnation === 99_999);
        if (!isWrapped) expect(all.map(({ name }) => name)).not.toContain(replicaPodName('ocr-00001', next));
      }),
    );
  });
});

describe('the name of a pool’s pod', () => {
  it('is a DNS label whatever the pool’s name and the dice', () => {
    const dice = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });
    fc.assert(
      fc.property(nameOf(MAX_POOL_NAME_LENGTH), dice, (pool, number) => {
        const podName = poolPodName(pool, () => number);
        expect(podName).toMatch(DNS_LABEL);
        expect(podName.slice(0, -6)).toBe(pool);
      }),
    );
  });
});
