import fc from 'fast-check';
import { expect, test } from 'vitest';
import { ActivatorRoster } from './activator-roster.ts';

function withTwo(): ActivatorRoster {
  const roster = new ActivatorRoster();
  roster.connected('a', 'pod-a', 0);
  roster.connected('b', 'pod-b', 0);
  return roster;
}

test('one whose stream ends and that says nothing more is lost 150 ms later', () => {
  const roster = withTwo();
  roster.disconnected('a', 1_000);
  expect(roster.judge(1_100)).toBe(false);
  expect(roster.isInDoubt).toBe(true);
  expect(roster.judge(1_150)).toBe(true);
  expect(roster.isLost('a')).toBe(true);
  expect([...roster.lostPods]).toEqual(['pod-a']);
});

test('one that takes up its stream again, or goes on to report, is not lost', () => {
  const roster = withTwo();
  roster.disconnected('a', 1_000);
  roster.connected('a', 'pod-a', 1_025);
  roster.disconnected('b', 1_000);
  roster.heard('b', true, 1_200);
  expect(roster.judge(1_300)).toBe(false);
});

test('one with requests that reports none is lost within a second, though its connection still stands', () => {
  const roster = withTwo();
  roster.heard('a', true, 1_000);
  expect(roster.judge(1_600)).toBe(false);
  expect(roster.judge(1_700)).toBe(true);
  expect([...roster.lostPods]).toEqual(['pod-a']);
  roster.heard('a', true, 1_800);
  expect(roster.judge(1_800)).toBe(true);
  expect([...roster.lostPods]).toEqual([]);
});

test('one without requests has nothing to report, and may be silent for as long as it likes', () => {
  const roster = withTwo();
  roster.heard('a', false, 1_000);
  expect(roster.judge(100_000)).toBe(false);
  expect(roster.isInDoubt).toBe(false);
});

test('when all are silent it is the controller that hears nothing: who was out stays out, and nobody else goes', () => {
  const roster = withTwo();
  roster.disconnected('a', 1_000);
  roster.judge(1_300);
  roster.heard('b', true, 2_000);
  expect(roster.judge(5_000)).toBe(false);
  expect([...roster.lostPods]).toEqual(['pod-a']);
});

test('a pod whose activator was killed is back with the next process in it', () => {
  const roster = withTwo();
  roster.disconnected('a', 1_000);
  roster.judge(1_300);
  roster.connected('a2', 'pod-a', 1_500);
  expect(roster.judge(1_500)).toBe(true);
  expect([...roster.lostPods]).toEqual([]);
  expect(roster.isLost('a')).toBe(true);
});

test('a lost one is forgotten after a minute; what becomes of its pod is the kubelet’s to say by then', () => {
  const roster = withTwo();
  roster.disconnected('a', 1_000);
  roster.judge(1_300);
  expect(roster.judge(61_300)).toBe(true);
  expect([...roster.lostPods]).toEqual([]);
  expect(roster.isInDoubt).toBe(false);
});

test('whatever is heard and not heard, never are all of them lost', () => {
  const step = fc.record({
    activator: fc.constantFrom('a', 'b', 'c'),
    what: fc.constantFrom('connected', 'disconnected', 'busy', 'idle', 'nothing'),
    laterMs: fc.nat(2_000),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
      const roster = new ActivatorRoster();
      let nowMs = 0;
      const known = new Set<string>();
      for (const { activator, what, laterMs } of steps) {
        nowMs += laterMs;
        if (what === 'connected') roster.connected(activator, `pod-${activator}`, nowMs);
        else if (what === 'disconnected') roster.disconnected(activator, nowMs);
        else if (what !== 'nothing') roster.heard(activator, what === 'busy', nowMs);
        if (what === 'connected') known.add(activator);
        roster.judge(nowMs);
        if (known.size > 0) {
          const lost = [...known].filter((one) => roster.isLost(one));
          expect(lost.length === known.size && known.size === 3).toBe(false);
          expect(roster.lostPods.size).toBeLessThan(3);
        }
      }
    }),
  );
});
