import { expect, test } from 'vitest';
import { Bench, revision, service } from './testing/dispatcher-bench.ts';

test('a request for one revision goes there, whatever its weight', () => {
  const bench = new Bench();
  bench.route(service([revision('old', 0, { one: 1 }), revision('new', 100, { two: 1 })]));
  bench.arrive(0, 'old');
  expect(bench.tickets[0]?.endpoint?.id).toBe('one');
});

test('it waits for its own replica while another revision has room', () => {
  const bench = new Bench();
  bench.route(service([revision('old', 0, {}), revision('new', 100, { two: 4 })]));
  expect(bench.arrive(0, 'old')).toMatchObject({ state: 'queued' });
  bench.route(service([revision('old', 0, { one: 1 }), revision('new', 100, { two: 4 })]));
  expect(bench.tickets[0]).toMatchObject({ state: 'placed', endpoint: { id: 'one' } });
});

test('when its replica breaks it waits for another one of the same revision', () => {
  const bench = new Bench();
  bench.route(service([revision('old', 0, { one: 1 }), revision('new', 100, { two: 4 })]));
  bench.arrive(0, 'old');
  bench.again(0);
  expect(bench.tickets[0]).toMatchObject({ state: 'queued', revision: { route: { name: 'old' } } });
});

test('when its revision is gone it is refused, and never served by another one', () => {
  const bench = new Bench();
  bench.route(service([revision('old', 0, {}), revision('new', 100, { two: 4 })]));
  bench.arrive(0, 'old');
  bench.route(service([revision('new', 100, { two: 4 })]));
  expect(bench.log).toEqual(['0 unknown-service']);
  expect(bench.arrive(0, 'old')).toBe('unknown-service');
});

test('a revision that failed to load refuses what is for it alone, and nobody else', () => {
  const failure = { code: 'model-not-found' as const, message: 'gone' };
  const bench = new Bench();
  bench.route(service([revision('old', 0, {}), revision('new', 100, { two: 4 })]));
  bench.arrive(0, 'old');
  bench.route(service([{ ...revision('old', 0, {}), failure }, revision('new', 100, { two: 4 })]));
  expect(bench.log).toEqual(['0 load-failed']);
  expect(bench.arrive(0, 'old')).toBe('load-failed');
  expect(bench.arrive()).toMatchObject({ state: 'placed' });
});

test('a stopped service refuses it like any other', () => {
  const bench = new Bench();
  bench.route(service([revision('old', 0, { one: 1 })], { stopped: 'by hand' }));
  expect(bench.arrive(0, 'old')).toBe('service-stopped');
});
