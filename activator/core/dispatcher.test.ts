import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Bench, revision, service } from './testing/dispatcher-bench.ts';
import type { Ticket } from './ticket.ts';

const states = (bench: Bench): string => bench.tickets.map(({ state }) => state[0]).join('');

test('with room a request is placed at once, without it waits, and is placed in order as permits come free', () => {
  const bench = new Bench();
  bench.route(service([revision('a', 100, { one: 2 })]));
  bench.arrivals(5);
  expect(states(bench)).toBe('ppqqq');
  bench.leave(0);
  bench.leave(1);
  expect(bench.log).toEqual(['2 placed', '3 placed']);
});

test('new capacity is handed to as many as it takes, the oldest first', () => {
  const bench = new Bench();
  bench.route(service([revision('a', 100, {})]));
  bench.arrivals(5);
  bench.route(service([revision('a', 100, { one: 1, two: 3 })]));
  expect(bench.log).toEqual(['0 placed', '1 placed', '2 placed', '3 placed']);
  expect(states(bench)).toBe('ppppq');
});

test('the queue is bounded by count and by bytes', () => {
  const bench = new Bench();
  bench.route(service([revision('a', 100, {})], { queue: { maxRequests: 2, maxBytes: 100 } }));
  expect(bench.arrive(60)).toMatchObject({ state: 'queued' });
  expect(bench.arrive(60)).toBe('queue-full');
  expect(bench.arrive(40)).toMatchObject({ state: 'queued' });
  expect(bench.arrive(0)).toBe('queue-full');
  bench.leave(0);
  expect(bench.arrive(60)).toMatchObject({ state: 'queued' });
});

test('one that leaves the queue is skipped, and a place given back twice counts once', () => {
  const bench = new Bench();
  bench.route(service([revision('a', 100, { one: 1 })]));
  bench.arrivals(4);
  bench.leave(1);
  bench.leave(1);
  bench.leave(0);
  bench.leave(0);
  expect(bench.log).toEqual(['2 placed']);
  expect(states(bench)).toBe('ddpq');
});

test('one whose body is not there lets the next one go first, and has the next turn once it is', () => {
  const bench = new Bench();
  bench.route(service([revision('a', 100, { one: 1 })]));
  bench.arrivals(3);
  bench.awaitBody(0);
  expect(states(bench)).toBe('apq');
  bench.bodyCame(0);
  expect(states(bench)).toBe('qpq');
  bench.leave(1);
  expect(states(bench)).toBe('pdq');
  bench.awaitBody(0);
  expect(states(bench)).toBe('adp');
  bench.leave(0);
  bench.leave(0);
  expect(bench.dispatcher.queueOf('u').requests).toBe(0);
});

test('bodies on their way count against the bounds of the queue, as far as they are more than the permits', () => {
  const bench = new Bench();
  bench.route(service([revision('a', 100, { one: 1 })], { queue: { maxRequests: 2, maxBytes: 1_000 } }));
  for (let index = 0; index < 4; index++) {
    bench.arrive(10);
    bench.awaitBody(index);
  }
  expect(states(bench)).toBe('aadd');
  expect(bench.log).toEqual(['2 queue-full', '3 queue-full']);
  expect(bench.dispatcher.queueOf('u')).toMatchObject({ requests: 2, bytes: 20 });
  expect(bench.arrive(10)).toMatchObject({ state: 'placed' });
});

test('one whose body comes when its service is gone is told so', () => {
  const bench = new Bench();
  bench.route(service([revision('a', 100, { one: 1 })]));
  bench.arrive();
  bench.awaitBody(0);
  bench.remove();
  bench.bodyCame(0);
  expect(bench.log).toEqual(['0 unknown-service']);
});

test('those that wait for a revision that is gone move to the others, in the order of arrival', () => {
  let next = 0;
  const bench = new Bench(() => [0, 0.9, 0, 0.9][next++] ?? 0.9);
  bench.route(service([revision('a', 50, {}), revision('b', 50, {})]));
  bench.arrivals(4);
  expect(bench.tickets.map((ticket) => ticket.revision?.route.name)).toEqual(['a', 'b', 'a', 'b']);
  bench.route(service([revision('b', 100, { one: 3 })]));
  expect(bench.log).toEqual(['0 placed', '1 placed', '2 placed']);
  expect(bench.tickets[3]?.revision?.route.name).toBe('b');
});

test('those that wait for a revision that lost its weight and has no endpoint move as well', () => {
  const bench = new Bench();
  bench.route(service([revision('a', 100, {})]));
  bench.arrivals(1);
  bench.route(service([revision('a', 0, {}), revision('b', 100, { one: 1 })]));
  expect(bench.log).toEqual(['0 placed']);
});

test('a service without any revision holds its requests until it has one', () => {
  const bench = new Bench();
  bench.route(service([]));
  bench.arrivals(2);
  expect(states(bench)).toBe('qq');
  bench.route(service([revision('a', 100, { one: 1 })]));
  expect(states(bench)).toBe('pq');
});

test('a failed canary costs no request while another revision has weight; all failed refuses everybody', () => {
  const failure = { code: 'model-not-found' as const, message: 'gone' };
  const bench = new Bench(() => 0.99);
  bench.route(service([revision('a', 90, {}), revision('b', 10, {})]));
  bench.arrivals(1);
  expect(bench.tickets[0]?.revision?.route.name).toBe('b');
  bench.route(service([revision('a', 90, {}), { ...revision('b', 10, {}), failure }]));
  expect(bench.tickets[0]?.revision?.route.name).toBe('a');
  bench.route(
    service([
      { ...revision('a', 90, {}), failure },
      { ...revision('b', 10, {}), failure },
    ]),
  );
  expect(bench.log).toEqual(['0 load-failed']);
  expect(bench.arrive()).toBe('load-failed');
});

test('a failure is no verdict while a replica is still being tried or serves', () => {
  const failure = { code: 'model-not-found' as const, message: 'gone' };
  const bench = new Bench();
  bench.route(service([{ ...revision('a', 100, {}), failure, startingPhase: 'fetched' }]));
  expect(bench.arrive()).toMatchObject({ state: 'queued' });
  bench.route(service([{ ...revision('a', 100, { one: 1 }), failure }]));
  expect(bench.log).toEqual(['0 placed']);
});

test('an arrival that is refused for a failed load is counted, so that the controller may try again', () => {
  const failure = { code: 'model-not-found' as const, message: 'gone' };
  const bench = new Bench();
  bench.route(service([{ ...revision('a', 100, {}), failure }]));
  bench.arrive();
  expect(bench.dispatcher.demand.counter('u', 'a')).toMatchObject({ requests: 1, queued: 0, inFlight: 0 });
});

test('removed and stopped services refuse those that wait; what is at a replica runs on', () => {
  const bench = new Bench();
  bench.route(service([revision('a', 100, { one: 1 })]));
  bench.arrivals(2);
  bench.route(service([revision('a', 100, { one: 1 })], { stopped: 'for the night' }));
  expect(bench.log).toEqual(['1 service-stopped']);
  expect(states(bench)).toBe('pd');
  bench.route(service([revision('a', 100, { one: 1 })]));
  bench.arrivals(1);
  bench.remove();
  expect(bench.log.at(-1)).toBe('2 unknown-service');
  bench.leave(0);
  expect(states(bench)).toBe('ddd');
});

test('a request whose replica failed comes first, and its endpoint rests: 50 ms, then 100, with one probe each', () => {
  const bench = new Bench();
  bench.route(service([revision('a', 100, { one: 2 })]));
  bench.arrivals(3);
  const [first] = bench.tickets;
  if (first === undefined) throw new Error('none arrived');
  expect(bench.dispatcher.again(first, true, bench.nowMs)).toBe(50);
  expect(states(bench)).toBe('qpq');
  bench.nowMs = 49;
  const { revision: state } = first;
  if (state === undefined) throw new Error('no revision');
  bench.dispatcher.drain(state, bench.nowMs);
  expect(bench.log).toEqual([]);
  bench.nowMs = 50;
  bench.dispatcher.drain(state, bench.nowMs);
  expect(bench.log).toEqual(['0 placed']);
  expect(bench.dispatcher.again(first, true, bench.nowMs)).toBe(100);
  bench.nowMs = 150;
  bench.dispatcher.drain(state, bench.nowMs);
  bench.dispatcher.worked(first);
  bench.dispatcher.drain(state, bench.nowMs);
  bench.leave(1);
  expect(bench.log).toEqual(['0 placed', '0 placed', '2 placed']);
});

test('a fault sends the next request elsewhere while the endpoint rests', () => {
  const bench = new Bench();
  bench.route(service([revision('a', 100, { one: 4, two: 4 })]));
  bench.arrivals(1);
  const [first] = bench.tickets;
  const before = first?.endpoint?.id;
  if (first !== undefined) bench.dispatcher.again(first, true, 0);
  expect(bench.log).toEqual(['0 placed']);
  expect(first?.endpoint?.id).not.toBe(before);
});

test('cold is who began to wait while there was no endpoint, and it stays so', () => {
  const bench = new Bench();
  bench.route(service([revision('a', 100, {})]));
  bench.arrivals(1);
  bench.nowMs = 40;
  bench.route(service([revision('a', 100, { one: 1 })]));
  bench.arrivals(1);
  expect(bench.tickets.map(({ cold }) => cold)).toEqual([true, false]);
  expect(bench.tickets[0]?.revision?.warmSinceMs).toBe(40);
});

type Step =
  | { do: 'arrive'; size: number }
  | { do: 'leave' | 'again' | 'worked' | 'awaitBody' | 'bodyCame'; which: number }
  | { do: 'route'; weights: number[]; capacities: number[][]; failed: boolean; stopped: boolean }
  | { do: 'remove' }
  | { do: 'wait'; ms: number };

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({ do: fc.constant('arrive' as const), size: fc.integer({ min: 0, max: 400 }) }),
  },
  {
    weight: 5,
    arbitrary: fc.record({
      do: fc.constantFrom(
        'leave' as const,
        'again' as const,
        'worked' as const,
        'awaitBody' as const,
        'bodyCame' as const,
      ),
      which: fc.nat(60),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('route' as const),
      weights: fc.constantFrom<number[]>([100], [50, 50], [0, 100], [0, 0], []),
      capacities: fc.array(fc.array(fc.integer({ min: 1, max: 3 }), { maxLength: 3 }), {
        minLength: 2,
        maxLength: 2,
      }),
      failed: fc.boolean(),
      stopped: fc.nat(5).map((number) => number === 0),
    }),
  },
  { weight: 1, arbitrary: fc.constant({ do: 'remove' as const }) },
  {
    weight: 2,
    arbitrary: fc.record({ do: fc.constant('wait' as const), ms: fc.integer({ min: 1, max: 300 }) }),
  },
);

test('whatever happens: bounds and capacities hold, permits are given back exactly once, counts agree with the tickets', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 80 }), fc.integer(), (steps, seed) => {
      let state = seed >>> 0;
      const bench = new Bench(() => {
        state = (state * 1664525 + 1013904223) >>> 0;
        return state / 2 ** 32;
      });
      const integral = new Map<string, number>();
      const back = new Set<Ticket>();
      for (const one of steps) {
        run(bench, one, integral, back);
        check(bench, integral, back);
      }
      for (const ticket of bench.tickets) bench.dispatcher.leave(ticket, bench.nowMs);
      for (const ticket of bench.tickets) expect(ticket.endpoint?.inFlight ?? 0).toBe(0);
      for (const counter of bench.dispatcher.demand.all()) expect(counter.present).toBe(0);
    }),
    { numRuns: 300 },
  );
});

function run(bench: Bench, one: Step, integral: Map<string, number>, back: Set<Ticket>): void {
  const { dispatcher } = bench;
  if (one.do === 'arrive') bench.arrive(one.size);
  else if (one.do === 'remove') bench.remove();
  else if (one.do === 'wait') {
    for (const ticket of bench.tickets) {
      if (ticket.state === 'done' || ticket.revision === undefined) continue;
      const { name } = ticket.revision.route;
      integral.set(name, (integral.get(name) ?? 0) + one.ms / 1000);
    }
    bench.nowMs += one.ms;
  } else if (one.do === 'route') {
    const revisions = one.weights.map((weight, index) => {
      const capacities = one.failed ? [] : (one.capacities[index] ?? []);
      const endpoints = Object.fromEntries(capacities.map((capacity, at) => [`${index}-${at}`, capacity]));
      const route = revision(`r${index}`, weight, endpoints);
      return one.failed ? { ...route, failure: { code: 'model-layout' as const, message: 'x' } } : route;
    });
    bench.route(service(revisions, one.stopped ? { stopped: 'x' } : {}));
  } else {
    const ticket = bench.tickets[one.which];
    if (ticket === undefined) return;
    if (one.do === 'leave') dispatcher.leave(ticket, bench.nowMs);
    else if (one.do === 'worked') dispatcher.worked(ticket);
    else if (one.do === 'awaitBody') dispatcher.awaitBody(ticket, bench.nowMs);
    else if (one.do === 'bodyCame') {
      if (ticket.state === 'arriving') back.add(ticket);
      dispatcher.bodyCame(ticket, bench.nowMs);
    } else {
      if (ticket.state === 'placed') back.add(ticket);
      dispatcher.again(ticket, true, bench.nowMs);
    }
  }
}

function check(bench: Bench, integral: Map<string, number>, back: Set<Ticket>): void {
  const queued = bench.tickets.filter(({ state }) => state === 'queued');
  const placed = bench.tickets.filter(({ state }) => state === 'placed');
  const bounded = queued.filter((ticket) => !back.has(ticket));
  expect(bounded.length).toBeLessThanOrEqual(5);
  expect(bounded.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)).toBeLessThanOrEqual(1_000);
  const waiting = [...queued, ...bench.tickets.filter(({ state }) => state === 'arriving')];
  expect(bench.dispatcher.queueOf('u').requests).toBe(
    waiting.filter(({ service: { removed } }) => !removed).length,
  );
  expect(bench.dispatcher.queueOf('u').bytes).toBe(
    waiting.filter(({ service: { removed } }) => !removed).reduce((sum, { sizeBytes }) => sum + sizeBytes, 0),
  );
  for (const endpoint of new Set(bench.tickets.map((ticket) => ticket.endpoint))) {
    if (endpoint === undefined) continue;
    expect(endpoint.inFlight).toBe(placed.filter((ticket) => ticket.endpoint === endpoint).length);
  }
  for (const state of bench.dispatcher.services()) {
    for (const { queue, demand, route } of state.revisions) {
      const mine = queued.filter((ticket) => ticket.revision?.queue === queue);
      expect(queue.length).toBe(mine.length);
      expect(demand.requestSeconds(bench.nowMs)).toBeCloseTo(integral.get(route.name) ?? 0, 6);
    }
  }
}

test('a permit is never handed out beyond the capacity', () => {
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: 1, max: 4 }), { minLength: 1, maxLength: 4 }),
      fc.array(fc.nat(30), { maxLength: 60 }),
      (capacities, leaving) => {
        let state = 7;
        const bench = new Bench(() => {
          state = (state * 1664525 + 1013904223) >>> 0;
          return state / 2 ** 32;
        });
        const endpoints = Object.fromEntries(capacities.map((capacity, index) => [`e${index}`, capacity]));
        bench.route(service([revision('a', 100, endpoints)], { queue: { maxRequests: 1_000, maxBytes: 1 } }));
        const total = capacities.reduce((sum, capacity) => sum + capacity, 0);
        for (const which of leaving) {
          bench.arrive();
          bench.leave(which);
          const placed = bench.tickets.filter(({ state: now }) => now === 'placed');
          const present = bench.tickets.filter(({ state: now }) => now !== 'done');
          // Nobody waits while there is room, and nobody is placed beyond it.
          expect(placed).toHaveLength(Math.min(total, present.length));
          for (const { endpoint } of placed)
            expect(endpoint?.inFlight).toBeLessThanOrEqual(endpoint?.capacity ?? 0);
        }
      },
    ),
  );
});

test('without failures requests are placed in the order in which they came', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 3 }),
      fc.integer({ min: 1, max: 30 }),
      fc.array(fc.nat(30)),
      (capacity, count, leaving) => {
        const bench = new Bench();
        bench.route(
          service([revision('a', 100, { one: capacity })], { queue: { maxRequests: 100, maxBytes: 1 } }),
        );
        bench.arrivals(count);
        for (const which of leaving) bench.leave(which);
        const order = bench.log.map((line) => Number.parseInt(line, 10));
        expect(order).toEqual([...order].sort((one, other) => one - other));
      },
    ),
  );
});

test('an endpoint that left the routes is told in the demand for as long as it has requests', () => {
  const bench = new Bench();
  bench.route(service([revision('a', 100, { one: 1, two: 1 })]));
  bench.arrivals(2);
  const leaving = (): readonly string[] | undefined => {
    const [counter] = bench.dispatcher.demand.all();
    return counter && bench.dispatcher.demandOf(counter, 0).leaving;
  };
  expect(leaving()).toEqual([]);
  bench.route(service([revision('a', 100, { two: 1 })]));
  expect(leaving()).toEqual(['one']);
  bench.leave(bench.tickets.findIndex(({ endpoint }) => endpoint?.id === 'one'));
  expect(leaving()).toEqual([]);
});
