import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Bench, revision, service } from './testing/dispatcher-bench.ts';

const states = (bench: Bench): string => bench.tickets.map(({ state }) => state[0]).join('');
const both = [
  { activator: 'me', parts: 8 },
  { activator: 'other', parts: 8 },
];
const otherFirst = both.toReversed();

test('of a replica that two activators share each has half', () => {
  const bench = new Bench();
  bench.route(service([revision('a', 100, { one: 4 })], { carriers: both }));
  bench.arrivals(5);
  expect(states(bench)).toBe('ppqqq');
});

test('when the other activator is gone, what it had goes to those that wait here', () => {
  const bench = new Bench();
  bench.route(service([revision('a', 100, { one: 4 })], { carriers: both }));
  bench.arrivals(5);
  bench.route(service([revision('a', 100, { one: 4 })], { carriers: both.slice(0, 1) }));
  expect(states(bench)).toBe('ppppq');
});

test('when another activator comes, what is under way here goes on and nothing new is sent beyond the share', () => {
  const bench = new Bench();
  bench.route(service([revision('a', 100, { one: 4 })], { carriers: both.slice(0, 1) }));
  bench.arrivals(5);
  bench.route(service([revision('a', 100, { one: 4 })], { carriers: both }));
  expect(states(bench)).toBe('ppppq');
  bench.leave(0);
  bench.leave(1);
  expect(states(bench)).toBe('ddppq');
  bench.leave(2);
  expect(states(bench)).toBe('dddpp');
});

test('with one unit for two, the one without it sends one at a time all the same', () => {
  const bench = new Bench();
  bench.route(service([revision('a', 100, { one: 1 })], { carriers: otherFirst }));
  bench.arrivals(3);
  expect(states(bench)).toBe('pqq');
  bench.leave(0);
  expect(states(bench)).toBe('dpq');
});

test('while the replica of its own share is broken, a request goes to one that the other has', () => {
  const bench = new Bench();
  bench.route(service([revision('a', 100, { one: 1, two: 1 })], { carriers: both }));
  bench.arrivals(2);
  const first = bench.tickets[0];
  expect(first?.endpoint?.id).toBe('one');
  bench.again(0);
  expect(states(bench)).toBe('pq');
  expect(first?.endpoint?.id).toBe('two');
});

test('whatever two activators are asked, together they never hold more than a replica takes, unless one has no unit', () => {
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: 1, max: 6 }), { minLength: 1, maxLength: 5 }),
      fc.tuple(fc.integer({ min: 1, max: 16 }), fc.integer({ min: 1, max: 16 })),
      fc.array(fc.tuple(fc.boolean(), fc.constantFrom('arrive', 'leave')), { maxLength: 60 }),
      (capacities, [mine, others], steps) => {
        const carriers = [
          { activator: 'me', parts: mine },
          { activator: 'other', parts: others },
        ];
        const endpoints = Object.fromEntries(capacities.map((capacity, index) => [`r${index}`, capacity]));
        const route = service([revision('a', 100, endpoints)], {
          carriers,
          queue: { maxRequests: 100, maxBytes: 100 },
        });
        const benches = [new Bench(() => 0, 'me'), new Bench(() => 0, 'other')] as const;
        for (const bench of benches) bench.route(route);
        for (const [isMine, step] of steps) {
          const bench = benches[isMine ? 0 : 1];
          if (step === 'arrive') bench.arrive();
          else bench.leave(bench.tickets.findIndex(({ state }) => state === 'placed'));
          const total = capacities.reduce((all, one) => all + one, 0);
          for (const [id, capacity] of Object.entries(endpoints)) {
            const held = benches.reduce((all, one) => all + one.heldAt(id), 0);
            expect(held).toBeLessThanOrEqual(total >= 2 ? capacity : capacity + 1);
          }
          for (const one of benches) {
            const waits = one.tickets.some(({ state }) => state === 'queued');
            if (waits) expect(one.tickets.some(({ state }) => state === 'placed')).toBe(true);
          }
        }
      },
    ),
  );
});
