import fc from 'fast-check';
import { expect, test } from 'vitest';
import { ManualClock } from '../../../engine/testing/manual-clock.ts';
import { createWorkQueue, type WorkQueue, type WorkQueueOptions } from './work-queue.ts';

/** Work that a test ends by hand. */
class Desk {
  readonly clock = new ManualClock();
  readonly started: string[] = [];
  readonly #open = new Map<string, { resolve: () => void; reject: (error: Error) => void }>();
  readonly queue: WorkQueue;

  constructor(options: Partial<WorkQueueOptions> = {}) {
    this.queue = createWorkQueue({
      clock: this.clock,
      concurrency: 2,
      random: () => 1,
      baseBackOffMs: 100,
      maxBackOffMs: 1_000,
      work: (key) => {
        if (this.#open.has(key)) throw new Error(`${key} runs twice at a time`);
        this.started.push(key);
        return new Promise((resolve, reject) => this.#open.set(key, { resolve, reject }));
      },
      ...options,
    });
  }

  get running(): string[] {
    return [...this.#open.keys()];
  }

  async add(...keys: string[]): Promise<void> {
    for (const key of keys) this.queue.add(key);
    await this.clock.settle();
  }

  async end(key: string, error?: Error): Promise<void> {
    const run = this.#open.get(key);
    this.#open.delete(key);
    if (error === undefined) run?.resolve();
    else run?.reject(error);
    await this.clock.settle();
  }

  async fail(key: string): Promise<void> {
    await this.end(key, new Error('not yet'));
  }
}

test('keys run in the order of adding, only so many at once, one added twice runs once', async () => {
  const desk = new Desk();
  await desk.add('a', 'b', 'a', 'c', 'b', 'c');
  expect(desk.running).toEqual(['a', 'b']);
  expect(desk.queue.size).toBe(3);
  await desk.end('b');
  await desk.end('a');
  await desk.end('c');
  expect(desk.started).toEqual(['a', 'b', 'c']);
  expect(desk.queue.size).toBe(0);
});

test('a key that is added while it runs, however often, runs once more', async () => {
  const desk = new Desk();
  await desk.add('a');
  await desk.add('a', 'a', 'a');
  expect(desk.running).toEqual(['a']);
  await desk.end('a');
  expect(desk.started).toEqual(['a', 'a']);
  await desk.end('a');
  expect(desk.running).toEqual([]);
});

test('nothing runs within add: its caller may be in the middle of something', async () => {
  const desk = new Desk();
  desk.queue.add('a');
  expect(desk.started).toEqual([]);
  await desk.clock.settle();
  expect(desk.started).toEqual(['a']);
});

test('a failed key comes back after 100, 200, 400 … at most 1,000 ms; success starts over', async () => {
  const delays: number[] = [];
  const desk = new Desk({ onFailure: (_key, _error, _failures, retryInMs) => delays.push(retryInMs) });
  await desk.add('a');
  for (let count = 0; count < 6; count += 1) {
    await desk.fail('a');
    await desk.clock.advance((delays.at(-1) ?? 0) - 1);
    expect(desk.running).toEqual([]);
    await desk.clock.advance(1);
    expect(desk.running).toEqual(['a']);
  }
  expect(delays).toEqual([100, 200, 400, 800, 1_000, 1_000]);
  await desk.end('a');
  await desk.add('a');
  await desk.fail('a');
  expect(delays.at(-1)).toBe(100);
});

test('jitter takes up to half of a back-off away', async () => {
  const delays: number[] = [];
  const desk = new Desk({ random: () => 0, onFailure: (_key, _error, _failures, ms) => delays.push(ms) });
  await desk.add('a');
  await desk.fail('a');
  expect(delays).toEqual([50]);
});

test('work that throws before it returns a promise is a failure like any other', async () => {
  const failed: unknown[] = [];
  const desk = new Desk({
    work: () => {
      throw new Error('at once');
    },
    onFailure: (_key, error) => failed.push(error),
  });
  await desk.add('a');
  expect(failed.map(String)).toEqual(['Error: at once']);
});

test('adding a key that sits out a back-off runs it now, and not again at the end of it', async () => {
  const desk = new Desk();
  await desk.add('a');
  await desk.fail('a');
  await desk.add('a');
  expect(desk.running).toEqual(['a']);
  await desk.end('a');
  await desk.clock.advance(10_000);
  expect(desk.started).toEqual(['a', 'a']);
});

test('of several times the earliest counts, and a run in between does not use it up', async () => {
  const desk = new Desk();
  desk.queue.addAfter('a', 500);
  desk.queue.addAfter('a', 300);
  desk.queue.addAfter('a', 900);
  await desk.add('a');
  await desk.end('a');
  await desk.clock.advance(299);
  expect(desk.started).toHaveLength(1);
  await desk.clock.advance(1);
  expect(desk.started).toHaveLength(2);
  await desk.end('a');
  await desk.clock.advance(10_000);
  expect(desk.started).toHaveLength(2);
});

test('what is forgotten comes back neither from the line, nor by its time, nor after a failure', async () => {
  const desk = new Desk({ concurrency: 1 });
  await desk.add('runs', 'waits');
  await desk.add('runs');
  desk.queue.addAfter('timed', 100);
  for (const key of ['runs', 'waits', 'timed']) desk.queue.forget(key);
  await desk.fail('runs');
  await desk.clock.advance(10_000);
  expect(desk.started).toEqual(['runs']);
  await desk.add('runs');
  expect(desk.running).toEqual(['runs']);
});

test('stopping waits for what runs, starts nothing more and leaves no timer', async () => {
  const desk = new Desk({ concurrency: 1 });
  await desk.add('a', 'b');
  desk.queue.addAfter('c', 10);
  let stopped = false;
  void desk.queue.stop().then(() => {
    stopped = true;
  });
  await desk.clock.advance(1_000);
  expect(stopped).toBe(false);
  await desk.fail('a');
  desk.queue.add('d');
  await desk.clock.advance(10_000);
  expect(stopped).toBe(true);
  expect(desk.started).toEqual(['a']);
});

test('whatever happens: never twice at a time, never too many, and what was added last has run since', async () => {
  const step = fc.record({
    what: fc.constantFrom('add', 'add', 'end', 'fail', 'advance'),
    key: fc.constantFrom('a', 'b', 'c', 'd'),
  });
  await fc.assert(
    fc.asyncProperty(
      fc.array(step, { maxLength: 40 }),
      fc.integer({ min: 1, max: 3 }),
      async (steps, concurrency) => {
        const desk = new Desk({ concurrency });
        const owed = new Set<string>();
        const check = (startedBefore: number): void => {
          for (const key of desk.started.slice(startedBefore)) owed.delete(key);
          expect(desk.running.length).toBeLessThanOrEqual(concurrency);
        };
        for (const { what, key } of steps) {
          const before = desk.started.length;
          if (what === 'add') owed.add(key);
          if (what === 'add') await desk.add(key);
          else if (what === 'end') await desk.end(key);
          else if (what === 'fail') await desk.fail(key);
          else await desk.clock.advance(150);
          check(before);
        }
        const before = desk.started.length;
        for (let round = 0; round < 12; round += 1) for (const key of desk.running) await desk.end(key);
        check(before);
        expect([...owed]).toEqual([]);
      },
    ),
    { numRuns: 150 },
  );
});
