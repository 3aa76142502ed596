import { describe, expect, test } from 'vitest';
import { Bench, revision, service } from './testing/dispatcher-bench.ts';

describe('a request ahead', () => {
  const answer = (bench: Bench, which: number, tookMs: number): void => {
    const ticket = bench.tickets[which];
    if (ticket === undefined) throw new Error('no such ticket');
    bench.nowMs = ticket.placedAtMs + tookMs;
    bench.dispatcher.inferred(ticket, bench.nowMs);
    bench.leave(which);
  };

  test('goes to a runtime that answers quickly, one beyond its capacity and no more', () => {
    const bench = new Bench();
    bench.route(service([revision('a', 100, { one: 1 })]));
    bench.arrive();
    answer(bench, 0, 2);
    bench.arrivals(3);
    expect(bench.tickets.map(({ state }) => state)).toEqual(['done', 'placed', 'placed', 'queued']);
    bench.leave(1);
    expect(bench.tickets.map(({ state }) => state)).toEqual(['done', 'done', 'placed', 'placed']);
  });

  test('does not go where a model takes its time, where nothing is known yet, or to another server', () => {
    for (const [kind, tookMs] of [
      ['runtime', 20],
      ['runtime', undefined],
      ['http', 2],
    ] as const) {
      const bench = new Bench();
      bench.route(service([{ ...revision('a', 100, { one: 1 }), kind }]));
      bench.arrive();
      if (tookMs === undefined) bench.leave(0);
      else answer(bench, 0, tookMs);
      bench.arrivals(2);
      expect(bench.tickets.map(({ state }) => state)).toEqual(['done', 'placed', 'queued']);
    }
  });

  test('goes nowhere while another replica has room', () => {
    const bench = new Bench();
    bench.route(service([revision('a', 100, { one: 1, two: 1 })]));
    bench.arrivals(2);
    answer(bench, 0, 2);
    answer(bench, 1, 2);
    bench.arrivals(2);
    const placed = new Set(bench.tickets.slice(2).map(({ endpoint }) => endpoint?.id));
    expect(placed).toEqual(new Set(['one', 'two']));
  });

  test('stops at one slow inference and comes back after a number of quick ones', () => {
    const bench = new Bench();
    bench.route(service([revision('a', 100, { one: 1 })]));
    const isAhead = (): boolean => {
      const [first, second] = [bench.tickets.length, bench.tickets.length + 1];
      bench.arrivals(2);
      const { state } = bench.tickets[second] ?? {};
      bench.leave(second);
      bench.leave(first);
      return state === 'placed';
    };
    const infer = (tookMs: number): void => {
      bench.arrive();
      answer(bench, bench.tickets.length - 1, tookMs);
    };
    infer(1);
    expect(isAhead()).toBe(true);
    infer(100);
    expect(isAhead()).toBe(false);
    for (let times = 0; times < 15; times++) infer(1);
    expect(isAhead()).toBe(false);
    infer(1);
    expect(isAhead()).toBe(true);
  });

  test('does not go to a replica that has just failed', () => {
    const bench = new Bench();
    bench.route(service([revision('a', 100, { one: 2 })]));
    bench.arrive();
    answer(bench, 0, 2);
    bench.arrivals(3);
    expect(bench.tickets[3]?.state).toBe('placed');
    bench.again(3);
    bench.arrive();
    expect(bench.tickets.slice(1).filter(({ state }) => state === 'placed')).toHaveLength(2);
  });
});
