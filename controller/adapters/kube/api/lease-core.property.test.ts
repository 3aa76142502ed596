import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  afterRead,
  afterTime,
  afterWrite,
  type ElectionSettings,
  type ElectionState,
  intentOf,
  type Lease,
  leads,
  NOT_STARTED,
} from './lease-core.ts';

/** One Lease behind a network: what is sent arrives later, or not at all, and so does the answer. */
interface Server {
  lease: Lease | undefined;
  version: number;
}

/** One step of an elector takes this long: a request to arrive, its answer to come back, its next round. */
interface Delays {
  arriveMs: number;
  answerMs: number;
  pauseMs: number;
  fate: 'answered' | 'answer-lost' | 'lost';
}

interface Timer {
  atMs: number;
  run: () => void;
}

const settings = (identity: string, renewDeadlineMs: number): ElectionSettings => ({
  identity,
  leaseDurationMs: 5_000,
  renewDeadlineMs,
  retryMs: 1_000,
});

class Race {
  nowMs = 1_800_000_000_000;
  readonly server: Server = { lease: undefined, version: 0 };
  readonly electors: Elector[];
  readonly #timers: Timer[] = [];
  readonly epochs: number[] = [];

  constructor(scripts: readonly (readonly Delays[])[], renewDeadlineMs: number) {
    this.electors = scripts.map(
      (script, index) => new Elector(this, settings(`elector-${index}`, renewDeadlineMs), script),
    );
  }

  after(delayMs: number, run: () => void): void {
    this.#timers.push({ atMs: this.nowMs + delayMs, run });
  }

  /** Runs until nothing is left to happen; at each instant at most one elector may lead. */
  run(): void {
    for (const elector of this.electors) elector.round();
    for (;;) {
      this.#timers.sort((left, right) => left.atMs - right.atMs);
      const next = this.#timers.shift();
      if (next === undefined) return;
      this.nowMs = next.atMs;
      next.run();
      const leaders = this.electors.filter(({ state }) => leads(state, this.nowMs));
      expect(leaders.length).toBeLessThanOrEqual(1);
    }
  }
}

class Elector {
  state: ElectionState = NOT_STARTED;
  readonly #race: Race;
  readonly #settings: ElectionSettings;
  readonly #delays: Delays[];

  constructor(race: Race, rules: ElectionSettings, script: readonly Delays[]) {
    this.#race = race;
    this.#settings = rules;
    this.#delays = [...script];
  }

  round(): void {
    const step = this.#delays.shift();
    if (step === undefined) return;
    const race = this.#race;
    this.state = afterTime(this.state, race.nowMs);
    if (this.state.tenure !== undefined) {
      this.#write(step);
      return;
    }
    race.after(step.arriveMs, () => {
      const { lease } = race.server;
      race.after(step.answerMs, () => {
        if (step.fate === 'answered') this.state = afterRead(this.state, lease, race.nowMs, this.#settings);
        if (step.fate === 'answered') this.#write(step);
        else race.after(step.pauseMs, () => this.round());
      });
    });
  }

  #write({ arriveMs, answerMs, pauseMs, fate }: Delays): void {
    const race = this.#race;
    const sentMs = race.nowMs;
    const seen = this.state.seen?.lease;
    const intent = intentOf(this.state, sentMs, this.#settings);
    const again = (): void => race.after(pauseMs, () => this.round());
    if (intent.type === 'wait') {
      race.after(intent.forMs, again);
      return;
    }
    race.after(arriveMs, () => {
      const { server } = race;
      const accepted =
        fate !== 'lost' && seen?.metadata?.resourceVersion === server.lease?.metadata?.resourceVersion;
      if (accepted) {
        server.version += 1;
        server.lease = { metadata: { resourceVersion: String(server.version) }, spec: intent.spec };
        if (race.epochs.at(-1) !== intent.epoch) race.epochs.push(intent.epoch);
      }
      const { lease } = server;
      race.after(answerMs, () => {
        if (fate === 'answered') {
          this.state =
            accepted && lease !== undefined
              ? afterWrite(this.state, lease, intent.epoch, sentMs, this.#settings)
              : afterRead(this.state, lease, race.nowMs, this.#settings);
        }
        again();
      });
    });
  }
}

const ms = fc.oneof(
  { weight: 5, arbitrary: fc.integer({ min: 0, max: 50 }) },
  { weight: 1, arbitrary: fc.integer({ min: 0, max: 12_000 }) },
);
const delays: fc.Arbitrary<Delays> = fc.record({
  arriveMs: ms,
  answerMs: ms,
  pauseMs: fc.oneof({ weight: 5, arbitrary: fc.constant(1_000) }, { weight: 1, arbitrary: ms }),
  fate: fc.constantFrom('answered', 'answered', 'answered', 'answered', 'answer-lost', 'lost'),
});

test('two electors, or three, never lead at once, however long anything takes, and epochs only grow', () => {
  let elections = 0;
  fc.assert(
    fc.property(fc.array(fc.array(delays, { maxLength: 25 }), { minLength: 2, maxLength: 3 }), (scripts) => {
      const race = new Race(scripts, 4_000);
      race.run();
      expect(race.epochs).toEqual([...new Set(race.epochs)].sort((left, right) => left - right));
      elections += race.epochs.length;
    }),
    { numRuns: 3_000 },
  );
  // A race in which hardly anybody is ever elected would prove nothing.
  expect(elections).toBeGreaterThan(5_000);
});

test('the race is able to find two leaders: it does with a deadline beyond the duration', () => {
  const reckless = fc.check(
    fc.property(
      fc.array(fc.array(delays, { minLength: 10, maxLength: 25 }), { minLength: 2, maxLength: 3 }),
      (scripts) => {
        new Race(scripts, 9_000).run();
      },
    ),
    { numRuns: 3_000 },
  );
  expect(reckless.failed).toBe(true);
});
