import { afterEach, beforeEach, expect, test } from 'vitest';
import { ManualClock } from '../../../engine/testing/manual-clock.ts';
import { BURST, EventBudget, REFILL_MS } from './event-budget.ts';
import { createEventRecorder, type EventRecorder } from './events.ts';
import { createKubeClient, type KubeClient } from './kube-client.ts';
import { FORGET_AFTER_MS, MAX_DISTINCT, SimilarEvents } from './similar-events.ts';
import { TestApiServer } from './testing/api-server.ts';

const subject = {
  apiVersion: 'serving.pilotlight.dev/v1alpha1',
  kind: 'InferenceService',
  namespace: 'team',
  name: 'iris',
  uid: 'uid-1',
};
const ready = { type: 'Normal' as const, reason: 'Ready', message: 'Revision 1 is ready' };

let server: TestApiServer;
let client: KubeClient;
let clock: ManualClock;
let recorder: EventRecorder;
let dropped: string[];

beforeEach(async () => {
  server = await TestApiServer.start();
  client = createKubeClient({ access: server.access, version: '0', timeoutMs: 500 });
  clock = new ManualClock();
  dropped = [];
  recorder = createEventRecorder({
    client,
    clock,
    component: 'pilotlight-controller',
    instance: 'pod-a',
    onDropped: (_subject, { message }, error) => dropped.push(`${message}: ${String(error)}`),
  });
});

afterEach(async () => {
  await client.close();
  await server.close();
});

test('an event says all that kubectl describe shows', async () => {
  recorder.record(subject, ready);
  await recorder.idle();
  expect([...server.objects.values()]).toEqual([
    expect.objectContaining({
      kind: 'Event',
      ...ready,
      involvedObject: subject,
      count: 1,
      firstTimestamp: '2027-01-15T08:00:00Z',
      lastTimestamp: '2027-01-15T08:00:00Z',
      source: { component: 'pilotlight-controller', host: 'pod-a' },
      reportingComponent: 'pilotlight-controller',
      reportingInstance: 'pod-a',
    }),
  ]);
  expect([...server.objects.keys()][0]).toMatch(/^team\/iris\.[0-9a-f]{16}$/);
});

test('with a pause, an event is written behind it, as of when it was recorded, and at the latest when all is to be written', async () => {
  const slow = createEventRecorder({ client, clock, component: 'c', instance: 'pod-a', pauseMs: 2_000 });
  slow.record(subject, ready);
  await clock.advance(1_000);
  slow.record(subject, { ...ready, message: 'Revision 2 is ready' });
  await clock.advance(999);
  expect(server.objects.size).toBe(0);
  await clock.advance(1);
  await slow.idle();
  expect([...server.objects.values()]).toMatchObject([
    { message: ready.message, lastTimestamp: '2027-01-15T08:00:00Z' },
    { message: 'Revision 2 is ready', lastTimestamp: '2027-01-15T08:00:01Z' },
  ]);
  slow.record(subject, { ...ready, message: 'Revision 3 is ready' });
  await slow.idle();
  expect(server.objects.size).toBe(3);
});

test('the same sentence raises a count, another one, or one about another object, is an event of its own', async () => {
  recorder.record(subject, ready);
  recorder.record(subject, ready);
  recorder.record(subject, { ...ready, message: 'Revision 2 is ready' });
  recorder.record({ ...subject, uid: 'uid-2' }, ready);
  await clock.advance(61_000);
  recorder.record(subject, ready);
  await recorder.idle();
  expect([...server.objects.values()]).toMatchObject([
    { count: 3, firstTimestamp: '2027-01-15T08:00:00Z', lastTimestamp: '2027-01-15T08:01:01Z' },
    { count: 1 },
    { count: 1 },
  ]);
});

test('an event that is there no more is written anew with its count', async () => {
  recorder.record(subject, ready);
  await recorder.idle();
  server.remove(...([...server.objects.keys()][0]?.split('/') as [string, string]));
  recorder.record(subject, ready);
  await recorder.idle();
  expect([...server.objects.values()]).toMatchObject([{ count: 2 }]);
});

test('one object may not flood the others, and recovers', async () => {
  for (let index = 0; index < BURST + 10; index += 1)
    recorder.record(subject, { ...ready, reason: `Reason${index}` });
  recorder.record({ ...subject, uid: 'uid-2' }, ready);
  await recorder.idle();
  expect(server.objects.size).toBe(BURST + 1);
  expect(dropped).toHaveLength(10);
  await clock.advance(REFILL_MS);
  recorder.record(subject, ready);
  await recorder.idle();
  expect(server.objects.size).toBe(BURST + 2);
});

test('a warning is told however much has gone well before', async () => {
  for (let index = 0; index < BURST + 10; index += 1) recorder.record(subject, ready);
  recorder.record(subject, { type: 'Warning', reason: 'LoadFailed', message: 'no such model' });
  await recorder.idle();
  expect([...server.objects.values()]).toMatchObject([{ count: BURST }, { reason: 'LoadFailed', count: 1 }]);
});

test('cold starts that differ in their figures alone are one event from the eleventh on', async () => {
  const start = (ms: number) => ({
    type: 'Normal' as const,
    reason: 'ColdStart',
    message: `cold start ${ms} ms`,
  });
  for (let ms = 1; ms <= MAX_DISTINCT + 5; ms += 1) recorder.record(subject, start(ms));
  recorder.record(subject, ready);
  await recorder.idle();
  expect(server.objects.size).toBe(MAX_DISTINCT + 2);
  expect([...server.objects.values()][MAX_DISTINCT]).toMatchObject({
    reason: 'ColdStart',
    message: `(combined from similar events): cold start ${MAX_DISTINCT + 5} ms`,
    count: 5,
  });
  await clock.advance(FORGET_AFTER_MS + 1);
  recorder.record(subject, start(99));
  await recorder.idle();
  expect([...server.objects.values()].at(-1)).toMatchObject({ message: 'cold start 99 ms', count: 1 });
});

test('kinds of events are not remembered without bound', () => {
  const similar = new SimilarEvents();
  for (let index = 0; index < 10_000; index += 1) similar.isCombined(`kind-${index}`, 'm', index);
  expect(similar.size).toBe(4_096);
});

test('what the API refuses is dropped and reported, and does not stop what comes after', async () => {
  server.faults.push({ type: 'status', status: 403, body: 'not allowed' }, { type: 'cut' });
  recorder.record(subject, ready);
  recorder.record(subject, { ...ready, message: 'second' });
  recorder.record(subject, ready);
  await recorder.idle();
  expect(dropped).toEqual([
    expect.stringMatching(/^Revision 1 is ready: KubeError: .*403 not allowed$/),
    expect.stringMatching(/^second: KubeError/),
  ]);
  expect([...server.objects.values()]).toMatchObject([{ message: ready.message, count: 1 }]);
});

test('a message is cut to what the API takes', async () => {
  recorder.record(subject, { ...ready, message: 'x'.repeat(5_000) });
  await recorder.idle();
  expect([...server.objects.values()]).toMatchObject([{ message: 'x'.repeat(1_024) }]);
});

test('budgets of objects that are long quiet take no memory', () => {
  const budget = new EventBudget();
  for (let index = 0; index < 10_000; index += 1) budget.take(`uid-${index}`, index * 1_000);
  expect(budget.size).toBeLessThan(2_100);
});
