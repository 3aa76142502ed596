import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decide } from './decide.ts';
import type { AutoscalerState, Decision, LoadSample, Observation } from './decision.ts';
import type { AutoscalerSpec } from './spec.ts';
import { autoscalerSpec, panicBuckets, stableBuckets } from './spec.ts';
import { START_MS } from './testing/timeline.ts';

interface Step {
  readonly afterMs: number;
  readonly observed: Observation;
}

interface Seen {
  readonly before: AutoscalerState | undefined;
  readonly observed: Observation;
  readonly nowMs: number;
  readonly decision: Decision;
}

const anySpec: fc.Arbitrary<AutoscalerSpec> = fc
  .record({
    metric: fc.constantFrom('concurrency' as const, 'rps' as const),
    targetCapacity: fc.double({ min: 0.1, max: 50, noNaN: true }),
    targetUtilisation: fc.double({ min: 0.05, max: 1, noNaN: true }),
    stableWindowMs: fc.integer({ min: 2, max: 60 }).map((seconds) => seconds * 1000),
    panicWindowPercentage: fc.integer({ min: 1, max: 100 }),
    panicThresholdPercentage: fc.integer({ min: 110, max: 1000 }),
    maxScaleUpRate: fc.double({ min: 1.1, max: 20, noNaN: true }),
    maxScaleDownRate: fc.double({ min: 1.1, max: 20, noNaN: true }),
    targetBurstCapacity: fc.constantFrom(-1, 0, 3, 211),
    scaleToZeroGraceMs: fc.integer({ min: 0, max: 40_000 }),
    scaleToZeroRetentionMs: fc.constantFrom(0, 0, 20_000),
    keepAliveMs: fc.constantFrom(0, 0, 90_000),
    scaleDownDelayMs: fc.constantFrom(0, 0, 1, 10_000),
    initialScale: fc.nat(4),
    activationScale: fc.integer({ min: 1, max: 4 }),
    minReplicas: fc.constantFrom(0, 0, 0, 2),
    maxReplicas: fc.constantFrom(0, 0, 2, 7),
  })
  .map((given) => autoscalerSpec(given));

const anyLoad = fc.oneof(
  fc.constant(0),
  fc.double({ min: 0, max: 200, noNaN: true }),
  fc.constantFrom(1e-9, 1e12),
);

/** A sample that ends `ageMs` before the moment it is told. */
const anySample = fc.record({
  ageMs: fc.oneof({ weight: 9, arbitrary: fc.nat(3000) }, fc.integer({ min: -1e5, max: 1e6 })),
  intervalMs: fc.oneof({ weight: 9, arbitrary: fc.integer({ min: 0, max: 3000 }) }, fc.nat(1e9)),
  concurrency: anyLoad,
  requestsPerSecond: anyLoad,
});

/** Mostly a tick later; at times at once, much later, or earlier. */
const anyPause = fc.oneof(
  { weight: 20, arbitrary: fc.integer({ min: 0, max: 4000 }) },
  { weight: 2, arbitrary: fc.integer({ min: -1e8, max: 1e8 }) },
);

const anyCount = fc.oneof({ weight: 3, arbitrary: fc.constant(0) }, fc.nat(30));

const anyRawSteps = fc.array(
  fc.record({
    afterMs: anyPause,
    samples: fc.array(anySample, { maxLength: 3 }),
    readyReplicas: fc.oneof({ weight: 9, arbitrary: fc.nat(12) }, fc.constant(undefined)),
    startingReplicas: anyCount,
    queuedNow: anyCount,
    inFlightNow: anyCount,
    activatorProved: fc.boolean(),
    initialised: fc.boolean(),
  }),
  { maxLength: 60 },
);

/** Long stretches of one kind of weather: without them no walk ever gets through a whole idle window. */
const anyWalk: fc.Arbitrary<Step[]> = fc
  .tuple(fc.array(fc.tuple(anyRawSteps, fc.nat(60), fc.boolean()), { minLength: 1, maxLength: 4 }))
  .map(([stretches]) => {
    const steps: Step[] = [];
    let nowMs = START_MS;
    const push = (
      afterMs: number,
      observed: Omit<Observation, 'samples'>,
      samples: readonly LoadSample[],
    ): void => {
      steps.push({ afterMs, observed: { ...observed, samples } });
    };
    for (const [wild, quietTicks, proved] of stretches) {
      for (const { afterMs, samples, ...rest } of wild) {
        nowMs += afterMs;
        const at = nowMs;
        push(
          afterMs,
          rest,
          samples.map(({ ageMs, ...sample }) => ({ ...sample, atMs: at - ageMs })),
        );
      }
      for (let tick = 0; tick < quietTicks; tick++) {
        nowMs += 2000;
        const quiet = {
          readyReplicas: 1,
          startingReplicas: 0,
          queuedNow: 0,
          inFlightNow: 0,
          initialised: true,
        };
        push(2000, { ...quiet, activatorProved: proved }, [
          { atMs: nowMs, intervalMs: 2000, concurrency: 0, requestsPerSecond: 0 },
        ]);
      }
    }
    return steps;
  });

function deepFreeze<T>(value: T): T {
  if (typeof value === 'object' && value !== null && !Object.isFrozen(value)) {
    Object.freeze(value);
    for (const inner of Object.values(value)) deepFreeze(inner);
  }
  return value;
}

function walk(spec: AutoscalerSpec, steps: readonly Step[]): Seen[] {
  const seen: Seen[] = [];
  let state: AutoscalerState | undefined;
  let nowMs = START_MS;
  for (const { afterMs, observed } of steps) {
    nowMs += afterMs;
    const decision = decide(state, deepFreeze(observed), spec, nowMs);
    seen.push({ before: state, observed, nowMs, decision });
    state = deepFreeze(decision.state);
  }
  return seen;
}

function holds(check: (seen: Seen, spec: AutoscalerSpec) => void): void {
  fc.assert(
    fc.property(anySpec, anyWalk, (spec, steps) => {
      for (const seen of walk(spec, steps)) check(seen, spec);
    }),
    { numRuns: 150 },
  );
}

describe('whatever happens', () => {
  it('the count is a whole number within the bounds, or explicitly unknown', () => {
    holds(({ decision }, spec) => {
      if (!decision.valid) {
        expect(decision.desired).toBeUndefined();
        return;
      }
      expect(Number.isSafeInteger(decision.desired)).toBe(true);
      expect(decision.desired).toBeGreaterThanOrEqual(
        spec.maxReplicas > 0 ? Math.min(spec.minReplicas, spec.maxReplicas) : spec.minReplicas,
      );
      if (spec.maxReplicas > 0) expect(decision.desired).toBeLessThanOrEqual(spec.maxReplicas);
    });
  });

  it('the count never falls while panic lasts', () => {
    holds(({ before, decision }) => {
      const wasPanic =
        before?.panic !== undefined && decision.state.panic?.startedMs === before.panic.startedMs;
      if (!wasPanic || !decision.valid || before.desired === undefined || !before.initialised) return;
      // Zero from before the panic is the past of another surge, and so is a count that a delay held.
      if (before.panic.maxReplicas === 0) return;
      expect(decision.desired).toBeGreaterThanOrEqual(Math.min(before.desired, before.panic.maxReplicas));
      expect(decision.state.panic?.maxReplicas).toBeGreaterThanOrEqual(before.panic.maxReplicas);
    });
  });

  it('one step stays between the rates, unless panic, a delay, a floor or a queue says otherwise', () => {
    holds(({ observed, decision }, spec) => {
      const ready = observed.readyReplicas ?? 0;
      if (!decision.valid || ready === 0) return;
      const most = Math.ceil(spec.maxScaleUpRate * ready);
      const least = Math.floor(ready / spec.maxScaleDownRate);
      const { panic, delay, initialised } = decision.state;
      const floors = [spec.minReplicas, spec.activationScale, initialised ? 0 : spec.initialScale];
      const held = [panic?.maxReplicas ?? 0, spec.scaleDownDelayMs > 0 ? (delay[0]?.count ?? 0) : 0];
      expect(decision.desired).toBeLessThanOrEqual(Math.max(most, ...floors, ...held));
      // A zero decided before stands while its replicas drain.
      if (decision.reasonCode === 'at-zero') return;
      const bounded = spec.maxReplicas > 0 ? Math.min(least, spec.maxReplicas) : least;
      expect(decision.desired).toBeGreaterThanOrEqual(bounded);
    });
  });

  it('zero comes only after a whole idle window, with the activator proved, the grace over and nothing waiting', () => {
    let zeros = 0;
    holds(({ before, observed, decision }, spec) => {
      if (!decision.valid || decision.desired !== 0) return;
      expect(observed.inFlightNow).toBe(0);
      if ((observed.readyReplicas ?? 0) === 0 || before?.desired === 0) {
        expect(observed.queuedNow).toBe(0);
        return;
      }
      zeros += 1;
      expect(observed.queuedNow).toBe(0);
      expect(decision.reasonCode).toBe('to-zero');
      expect(observed.activatorProved).toBe(true);
      const { nowMs, lastActiveMs, stable, proxiedSinceMs } = decision.state;
      const idleMs = Math.max(spec.stableWindowMs, spec.keepAliveMs);
      expect(nowMs - (lastActiveMs ?? -Infinity)).toBeGreaterThanOrEqual(idleMs);
      expect(nowMs - (stable.covered?.firstMs ?? nowMs)).toBeGreaterThanOrEqual(spec.stableWindowMs);
      expect(nowMs - (proxiedSinceMs ?? nowMs)).toBeGreaterThanOrEqual(spec.scaleToZeroGraceMs);
      expect(decision.mode).toBe('proxied');
    });
    expect(zeros).toBeGreaterThan(10);
  });

  it('a queued request without a replica gets one', () => {
    holds(({ observed, decision }) => {
      if (observed.queuedNow === 0 || observed.readyReplicas !== 0) return;
      expect(decision.valid && decision.desired > 0).toBe(true);
    });
  });

  it('requests go straight to replicas only where there is one, one is wanted and the burst fits', () => {
    holds(({ observed, decision }) => {
      if (decision.mode === 'proxied' || !decision.valid) return;
      expect(decision.desired).toBeGreaterThan(0);
      expect(observed.readyReplicas).toBeGreaterThan(0);
      expect(decision.excessBurstCapacity).toBeGreaterThanOrEqual(0);
    });
  });

  it('the state stays as small as its windows', () => {
    holds(({ decision }, spec) => {
      const { stable, panicLoad, delay } = decision.state;
      expect(stable.buckets.length).toBe(stableBuckets(spec));
      expect(panicLoad.buckets.length).toBe(panicBuckets(spec));
      expect(delay.length).toBeLessThanOrEqual(Math.max(1, Math.ceil(spec.scaleDownDelayMs / 2000)));
      const values = [...stable.buckets, ...panicLoad.buckets];
      expect(values.filter((value) => !Number.isFinite(value) || value < 0)).toEqual([]);
    });
  });

  it("the autoscaler's own time never goes back", () => {
    holds(({ before, decision }) => {
      expect(decision.state.nowMs).toBeGreaterThanOrEqual(before?.nowMs ?? 0);
    });
  });

  it('there is a reason that names the count', () => {
    holds(({ decision }) => {
      expect(decision.reason.length).toBeLessThan(600);
      expect(decision.reason).not.toMatch(/NaN|undefined|Infinity/);
      if (decision.valid) expect(decision.reason).toMatch(new RegExp(`^(holding )?${decision.desired}\\b`));
      else expect(decision.reason).toMatch(/^unknown: /);
    });
  });

  it('the same arguments, frozen, give the same decision twice', () => {
    holds(({ before, observed, nowMs, decision }, spec) => {
      expect(decide(before, observed, spec, nowMs)).toEqual(decision);
    });
  });

  it('a clock set back changes nothing but the moment it is noticed', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(20), { minLength: 3, maxLength: 80 }), fc.nat(1e9), (loads, backMs) => {
        const spec = autoscalerSpec({ targetCapacity: 2 });
        const half = Math.floor(loads.length / 2);
        const run = (setBackMs: number): (number | undefined)[] => {
          let state: AutoscalerState | undefined;
          return loads.map((concurrency, tick) => {
            // The clock goes back right after a look, and runs on from there.
            const nowMs = START_MS + tick * 2000 - (tick > half ? setBackMs : 0);
            const sample = { atMs: nowMs, intervalMs: 2000, concurrency, requestsPerSecond: 0 };
            const base = { startingReplicas: 0, queuedNow: 0, inFlightNow: 0, activatorProved: true };
            const observed = { ...base, samples: [sample], readyReplicas: 1, initialised: true };
            if (tick === half && setBackMs > 0) {
              state = decide(state, observed, spec, nowMs).state;
              const look = decide(state, { ...observed, samples: [] }, spec, nowMs - setBackMs);
              state = look.state;
              return look.desired;
            }
            const decision = decide(state, observed, spec, nowMs);
            state = decision.state;
            return decision.desired;
          });
        };
        expect(run(backMs + 1)).toEqual(run(0));
      }),
    );
  });
});

describe('more load', () => {
  it('never gives fewer replicas, all else being equal', () => {
    fc.assert(
      fc.property(
        anySpec,
        anyWalk,
        fc.double({ min: 0, max: 100, noNaN: true }),
        fc.double({ min: 0, max: 100, noNaN: true }),
        (spec, steps, load, more) => {
          const past = walk(spec, steps).at(-1);
          const state = past?.decision.state;
          const nowMs = (past?.nowMs ?? START_MS) + 2000;
          const answer = (concurrency: number): number => {
            const decision = decide(
              state,
              {
                samples: [{ atMs: nowMs, intervalMs: 2000, concurrency, requestsPerSecond: concurrency }],
                readyReplicas: past?.observed.readyReplicas ?? 1,
                startingReplicas: 0,
                queuedNow: 0,
                inFlightNow: 0,
                activatorProved: true,
                initialised: true,
              },
              spec,
              nowMs,
            );
            return decision.desired ?? 0;
          };
          expect(answer(load + more)).toBeGreaterThanOrEqual(answer(load));
        },
      ),
      { numRuns: 150 },
    );
  });
});
