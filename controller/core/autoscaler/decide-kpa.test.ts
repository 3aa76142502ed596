import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Timeline } from './testing/timeline.ts';

describe('against KPA written down naively', () => {
  it('gives the same counts, tick by tick, for any load and any lag of the replicas', () => {
    const loads = fc.array(fc.record({ concurrency: fc.nat(40), seconds: fc.integer({ min: 2, max: 40 }) }), {
      minLength: 1,
      maxLength: 12,
    });
    fc.assert(
      fc.property(loads, fc.integer({ min: 1, max: 6 }), fc.nat(4), (phases, target, lagTicks) => {
        const life = new Timeline({ targetCapacity: target, maxScaleUpRate: 10, keepAliveMs: 1e9 }, 1);
        life.frozen = true;
        const seen: number[] = [];
        const wanted: number[] = [1];
        let panicUntilS = -1;
        let panicMost = 0;
        let isPanic = false;
        let samples: Parameters<Timeline['ask']>[0] = { samples: [] };
        for (const { concurrency, seconds } of phases) {
          for (let step = 0; step < seconds; step++) {
            seen.push(concurrency);
            life.nowMs += 1000;
            const sample = { atMs: life.nowMs, intervalMs: 1000, concurrency, requestsPerSecond: 0 };
            samples = { samples: [...(samples.samples ?? []), sample] };
            if (seen.length % 2 !== 0) continue;
            life.ready = wanted.at(-1 - lagTicks) ?? 1;
            const decision = life.ask(samples);
            samples = { samples: [] };

            const now = seen.length;
            const mean = (size: number): number => {
              const part = seen.slice(-size);
              return Math.floor((part.reduce((sum, value) => sum + value, 0) / part.length) * 1e6) / 1e6;
            };
            const most = Math.ceil(10 * life.ready);
            const least = Math.floor(life.ready / 2);
            const byStable = Math.ceil(mean(60) / target);
            const byPanic = Math.ceil(mean(6) / target);
            const clamp = (count: number): number => Math.min(Math.max(count, least), most);
            if (byPanic / life.ready >= 2) {
              isPanic = true;
              panicUntilS = now + 60;
            } else if (isPanic && panicUntilS < now) {
              isPanic = false;
              panicMost = 0;
            }
            let expected = clamp(byStable);
            if (isPanic) {
              panicMost = Math.max(panicMost, expected, clamp(byPanic));
              expected = panicMost;
            }
            expected = Math.max(1, expected); // the keep-alive
            expect(decision.desired).toBe(expected);
            wanted.push(expected);
          }
        }
      }),
      { numRuns: 200 },
    );
  });
});
