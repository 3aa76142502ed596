import { decide } from '../decide.ts';
import type { AutoscalerState, Decision, Observation, ReasonCode } from '../decision.ts';
import type { AutoscalerSpec } from '../spec.ts';
import { autoscalerSpec, TICK_MS } from '../spec.ts';

/** Epoch ms on a whole second, so that a sample per second fills a bucket each, as in KPA. */
export const START_MS = 1_800_000_000_000;

/** One replica per concurrent request: the numbers of a test can be read off the load. */
export const ONE_EACH = { targetCapacity: 1, targetUtilisation: 1, targetBurstCapacity: -1 } as const;

/** One revision's life, told in seconds of load. Replicas follow what is wanted at once unless held. */
export class Timeline {
  readonly spec: AutoscalerSpec;
  nowMs = START_MS;
  ready: number;
  state: AutoscalerState | undefined;
  last: Decision | undefined;
  /** Replicas stay as they are, whatever is wanted. */
  frozen = false;
  activatorProved = true;
  initialised = true;

  constructor(given: Partial<AutoscalerSpec> = {}, ready = 0) {
    this.spec = autoscalerSpec({ ...ONE_EACH, ...given });
    this.ready = ready;
  }

  /** Asks now, with what is given on top of "nothing new". */
  ask(given: Partial<Observation> = {}): Decision {
    const observed: Observation = {
      samples: [],
      readyReplicas: this.ready,
      startingReplicas: 0,
      queuedNow: 0,
      inFlightNow: 0,
      activatorProved: this.activatorProved,
      initialised: this.initialised,
      ...given,
    };
    this.last = decide(this.state, observed, this.spec, this.nowMs);
    this.state = this.last.state;
    if (this.last.valid && !this.frozen) this.ready = this.last.desired;
    return this.last;
  }

  /** A load for some seconds, one sample a second, asked every tick. Returns the last answer. */
  load(concurrency: number, forSeconds: number): Decision {
    const all = this.series(concurrency, forSeconds);
    const last = all.at(-1);
    if (last === undefined) throw new Error('no tick in that time');
    return last;
  }

  /** As `load`, all answers. */
  series(concurrency: number, forSeconds: number): Decision[] {
    const decisions: Decision[] = [];
    let samples: Observation['samples'] = [];
    for (let second = 1; second <= forSeconds; second++) {
      this.nowMs += 1000;
      const sample = { atMs: this.nowMs, intervalMs: 1000, concurrency, requestsPerSecond: concurrency };
      samples = [...samples, sample];
      if (this.nowMs % TICK_MS === 0) {
        decisions.push(this.ask({ samples }));
        samples = [];
      }
    }
    if (samples.length > 0) decisions.push(this.ask({ samples }));
    return decisions;
  }

  /** Time in which nobody reports anything. */
  silence(forSeconds: number): void {
    this.nowMs += forSeconds * 1000;
  }
}

export function desiredOf(decisions: readonly Decision[]): (number | undefined)[] {
  return decisions.map((decision) => decision.desired);
}

export function codesOf(decisions: readonly Decision[]): ReasonCode[] {
  return decisions.map((decision) => decision.reasonCode);
}
