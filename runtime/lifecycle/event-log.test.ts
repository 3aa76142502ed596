import { expect, test } from 'vitest';
import type { SpecialiseEvent } from '../../contracts/admin.ts';
import { EventLog } from './event-log.ts';

const claimed: SpecialiseEvent = { event: 'claimed', elapsedMs: 0 };
const created: SpecialiseEvent = { event: 'created', elapsedMs: 5 };
const ready: SpecialiseEvent = { event: 'ready', elapsedMs: 6, capacity: 1 };

test('whoever subscribes gets every event from the start, early or late', () => {
  const log = new EventLog();
  const early: SpecialiseEvent[] = [];
  const late: SpecialiseEvent[] = [];
  log.push(claimed);
  log.subscribe((event) => early.push(event));
  log.push(created);
  log.subscribe((event) => late.push(event));
  log.push(ready);
  expect(early).toEqual([claimed, created, ready]);
  expect(late).toEqual([claimed, created, ready]);
});

test('nothing follows the end', () => {
  const log = new EventLog();
  log.push(ready);
  log.push({ event: 'failed', elapsedMs: 7, code: 'internal', message: 'too late' });
  const seen: SpecialiseEvent[] = [];
  log.subscribe((event) => seen.push(event));
  expect(log.ended).toBe(true);
  expect(seen).toEqual([ready]);
});

test('who unsubscribed hears no more', () => {
  const log = new EventLog();
  const seen: SpecialiseEvent[] = [];
  log.subscribe((event) => seen.push(event))();
  log.push(claimed);
  expect(seen).toEqual([]);
});
