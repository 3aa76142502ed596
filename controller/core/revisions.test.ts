import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  applySpec,
  assignTraffic,
  isProved,
  lastRolledOut,
  MAX_REVISIONS,
  markFailed,
  markReady,
  markRolledOut,
  type Revisions,
  targetOf,
  trimRevisions,
} from './revisions.ts';
import { resolvedService } from './testing/resolved-service.ts';

const resolved = resolvedService('ocr');
const FAILURE = { code: 'model-not-onnx', message: 'not ONNX', atMs: 1 };

/** A service's life as a test tells it: specs, readiness, failures, canaries, with traffic looked at after each. */
class Story {
  revisions: Revisions = [];
  traffic: ReadonlyMap<string, number> = new Map();
  canaryPercent: number | undefined;
  initialScale = 1;
  #nowMs = 1_000;

  apply(spec: string, canaryPercent?: number): this {
    this.canaryPercent = canaryPercent;
    this.revisions = applySpec(this.revisions, { specHash: spec, resolved }, this.#nowMs).revisions;
    return this.#look();
  }

  ready(spec: string): this {
    this.revisions = markReady(this.revisions, this.nameOf(spec), undefined);
    return this.#look();
  }

  failed(spec: string): this {
    this.revisions = markFailed(this.revisions, this.nameOf(spec), FAILURE);
    return this.#look();
  }

  nameOf(spec: string): string {
    return this.revisions.find(({ specHash }) => specHash === spec)?.name ?? 'none';
  }

  /** Shares by spec. */
  get shares(): Record<string, number> {
    const specs = this.revisions.map(({ specHash, name }) => [specHash, this.traffic.get(name)] as const);
    return Object.fromEntries(specs.filter(([, share]) => share !== undefined)) as Record<string, number>;
  }

  #look(): this {
    this.#nowMs += 1_000;
    this.traffic = assignTraffic(this.revisions, this);
    this.revisions = markRolledOut(this.revisions, this.traffic, this.initialScale, this.#nowMs);
    this.revisions = trimRevisions(this.revisions, new Set(this.traffic.keys()));
    return this;
  }
}

test('revisions are named by number and the same spec makes no other one', () => {
  const story = new Story().apply('a').apply('a').apply('b');
  expect(story.revisions.map(({ name, number }) => [name, number])).toEqual([
    ['ocr-00001', 1],
    ['ocr-00002', 2],
  ]);
});

test('the same spec with other settings renews what the revision was resolved to', () => {
  const first = applySpec([], { specHash: 'a', resolved }, 1).revisions;
  const later = { ...resolved, generation: 7 };
  const { revisions, change } = applySpec(first, { specHash: 'a', resolved: later }, 2);
  expect(change).toBe('none');
  expect(revisions[0]?.resolved.generation).toBe(7);
});

test('the only revision gets all traffic, loaded or not', () => {
  expect(new Story().apply('a').shares).toEqual({ a: 100 });
  expect(new Story().apply('a').failed('a').shares).toEqual({ a: 100 });
});

test('the old one keeps the traffic until the new one is ready', () => {
  const story = new Story().apply('a').ready('a').apply('b');
  expect(story.shares).toEqual({ a: 100 });
  expect(story.ready('b').shares).toEqual({ b: 100 });
});

test('a new one that fails leaves the traffic where it is, over any number of such', () => {
  const story = new Story().apply('a').ready('a').apply('b').failed('b').apply('c').failed('c');
  expect(story.shares).toEqual({ a: 100 });
  expect(story.apply('d').ready('d').shares).toEqual({ d: 100 });
});

test('a revision that has loaded before is not rolled back when a later start of it fails', () => {
  expect(new Story().apply('a').ready('a').apply('b').ready('b').failed('b').shares).toEqual({ b: 100 });
});

test('initialScale 0 needs no proof, until the revision has failed', () => {
  const story = new Story();
  story.initialScale = 0;
  story.apply('a').ready('a').apply('b');
  expect(story.shares).toEqual({ b: 100 });
  expect(story.failed('b').shares).toEqual({ a: 100 });
  expect(story.ready('b').shares).toEqual({ b: 100 });
});

test('a canary shares with the one that had all of the traffic', () => {
  const story = new Story().apply('a').ready('a').apply('b', 10);
  expect(story.shares).toEqual({ a: 100 });
  expect(story.ready('b').shares).toEqual({ a: 90, b: 10 });
  expect(story.apply('b').shares).toEqual({ b: 100 });
});

test('a canary that replaces a canary is compared with what was rolled out, not with the canary before', () => {
  const story = new Story().apply('a').ready('a').apply('b', 10).ready('b').apply('c', 20);
  expect(story.shares).toEqual({ a: 80, b: 20 });
  expect(story.ready('c').shares).toEqual({ a: 80, c: 20 });
});

test('a canary is not promoted because a manifest without a canary fails or is still loading', () => {
  const story = new Story().apply('a').ready('a').apply('b', 10).ready('b').apply('c');
  expect(story.shares).toEqual({ a: 100 });
  expect(story.failed('c').shares).toEqual({ a: 100 });
});

test('what was rolled out keeps all of its traffic while a canary loads', () => {
  const story = new Story().apply('a').ready('a').apply('b').ready('b').apply('c', 10);
  expect(story.shares).toEqual({ b: 100 });
  expect(story.failed('c').shares).toEqual({ b: 100 });
});

test('canaryTrafficPercent 0 on a revision that was rolled out goes back to the one before', () => {
  const story = new Story().apply('a').ready('a').apply('b').ready('b').apply('b', 0);
  expect(story.shares).toEqual({ a: 100, b: 0 });
});

test('an earlier spec that comes back is the same revision under a new number, its failure forgiven', () => {
  const story = new Story().apply('a').ready('a').apply('b').failed('b').apply('a').apply('b');
  expect(story.revisions.map(({ name, number }) => [name, number])).toEqual([
    ['ocr-00001', 3],
    ['ocr-00002', 4],
  ]);
  expect(targetOf(story.revisions)?.failure).toBeUndefined();
});

const command = fc.oneof(
  fc.record({
    do: fc.constant('apply' as const),
    spec: fc.integer({ min: 0, max: 14 }).map(String),
    canary: fc.option(fc.integer({ min: 0, max: 100 }), { nil: undefined }),
  }),
  fc.record({ do: fc.constant('ready' as const), spec: fc.integer({ min: 0, max: 14 }).map(String) }),
  fc.record({ do: fc.constant('failed' as const), spec: fc.integer({ min: 0, max: 14 }).map(String) }),
);

function tell(
  story: Story,
  commands: readonly (typeof command extends fc.Arbitrary<infer T> ? T : never)[],
): void {
  for (const told of commands) {
    if (told.do === 'apply') story.apply(told.spec, told.canary);
    else if (told.do === 'ready') story.ready(told.spec);
    else story.failed(told.spec);
  }
}

test('property: shares add up to 100 over at most two revisions, and only proved ones have any where one is', () => {
  fc.assert(
    fc.property(fc.array(command, { maxLength: 40 }), fc.constantFrom(0, 1), (commands, initialScale) => {
      const story = new Story();
      story.initialScale = initialScale;
      story.apply('0');
      tell(story, commands);
      const shares = [...story.traffic.values()];
      expect(shares.reduce((sum, share) => sum + share, 0)).toBe(100);
      expect(shares.length).toBeLessThanOrEqual(2);
      const anyProved = story.revisions.some((revision) => isProved(revision, initialScale));
      for (const [name, share] of story.traffic) {
        const revision = story.revisions.find((one) => one.name === name);
        expect(revision).toBeDefined();
        if (revision !== undefined && share > 0 && anyProved)
          expect(isProved(revision, initialScale)).toBe(true);
      }
    }),
  );
});

test('property: numbers rise, names and specs are unique, and the list is bounded', () => {
  fc.assert(
    fc.property(fc.array(command, { maxLength: 60 }), (commands) => {
      const story = new Story().apply('0');
      tell(story, commands);
      const numbers = story.revisions.map(({ number }) => number);
      expect(numbers).toEqual([...new Set(numbers)].sort((left, right) => left - right));
      expect(new Set(story.revisions.map(({ name }) => name)).size).toBe(numbers.length);
      expect(new Set(story.revisions.map(({ specHash }) => specHash)).size).toBe(numbers.length);
      // Two more may be held: the one last rolled out, and the other half of a canary.
      expect(numbers.length).toBeLessThanOrEqual(MAX_REVISIONS + 2);
    }),
  );
});

test('property: a revision that never loaded takes no traffic from one that has', () => {
  fc.assert(
    fc.property(fc.array(command, { maxLength: 40 }), (commands) => {
      const story = new Story().apply('0').ready('0');
      tell(story, commands);
      const rolledOut = lastRolledOut(story.revisions);
      expect(rolledOut?.everReady).toBe(true);
      for (const [name, share] of story.traffic) {
        if (share > 0) expect(story.revisions.find((one) => one.name === name)?.everReady).toBe(true);
      }
    }),
  );
});
