import fc from 'fast-check';
import { expect, test } from 'vitest';
import { coldStartSchema } from '../../contracts/cold-start.ts';
import { ColdStartLog, coldStartSentence, MAX_COLD_STARTS } from './cold-starts.ts';

const IDENTITY = { files: [] };

function begin(
  log: ColdStartLog,
  replica: string,
  queuedForMs: number | undefined,
  decidedAtMs = 1_000,
): void {
  log.begin({
    replica,
    namespace: 'default',
    service: 'ocr',
    serviceUid: 'uid',
    revision: 'ocr-00001',
    via: 'standby',
    queuedForMs,
    decidedAtMs,
  });
}

function answer(
  log: ColdStartLog,
  replica: string,
  times: { queuedMs: number; upstreamMs: number; agoMs: number },
  nowMs: number,
) {
  const { queuedMs, upstreamMs, agoMs } = times;
  return log.answered(
    {
      serviceUid: 'uid',
      revision: 'ocr-00001',
      endpointId: replica,
      queuedMs,
      upstreamMs,
      arrivedAgoMs: agoMs,
    },
    nowMs,
  );
}

test("the first answer of a replica that came for a later request ends that replica's start, and its phases add up", () => {
  const log = new ColdStartLog();
  // The oldest request arrived at 997; another replica answered it. Ours is routed at 1100 and answers one of 1090.
  begin(log, 'x', 3);
  log.event('x', { event: 'claimed', elapsedMs: 0 }, 1_002);
  log.routed('x', 1_100);
  const record = answer(log, 'x', { queuedMs: 12, upstreamMs: 20, agoMs: 40 }, 1_130);
  expect(record).toMatchObject({ atMs: 997, totalMs: 1_122 - 997, outcome: 'answered' });
  expect(record?.phasesMs).toEqual({ decided: 3, claimed: 2, routed: 98, answered: 22 });
});

test('marks and durations of three clocks become one row of phases that add up', () => {
  const log = new ColdStartLog();
  begin(log, 'x', 3);
  // The runtime's clock says 0.4 ms at its first event, which comes here at 1002: its zero is 1001.6.
  log.event('x', { event: 'claimed', elapsedMs: 0.4 }, 1_002);
  log.event('x', { event: 'fetched', elapsedMs: 5.4, cached: true, sizeBytes: 9, identity: IDENTITY }, 1_009);
  log.event('x', { event: 'created', elapsedMs: 25.4 }, 1_028);
  log.event('x', { event: 'ready', elapsedMs: 25.6, capacity: 1 }, 1_028);
  log.routed('x', 1_029);
  const record = answer(log, 'x', { queuedMs: 33, upstreamMs: 20, agoMs: 60 }, 1_057);
  expect(record).toMatchObject({
    atMs: 997,
    via: 'standby',
    demanded: true,
    cached: true,
    outcome: 'answered',
    totalMs: 53,
  });
  const phases = { decided: 3, claimed: 2, fetched: 5, created: 20, routed: 2, answered: 21 };
  for (const [phase, ms] of Object.entries(phases)) {
    expect(record?.phasesMs[phase as keyof typeof record.phasesMs]).toBeCloseTo(ms, 9);
  }
  expect(coldStartSchema.safeParse(record).success).toBe(true);
});

test('reports that come late make no phase longer than the whole', () => {
  const log = new ColdStartLog();
  // The request came at 990 and the first report of it took 7 ms to come here, the second one 25 ms.
  begin(log, 'x', 3);
  log.event('x', { event: 'created', elapsedMs: 20 }, 1_020);
  log.routed('x', 1_021);
  const record = answer(log, 'x', { queuedMs: 33, upstreamMs: 20, agoMs: 60 }, 1_075);
  const sumMs = Object.values(record?.phasesMs ?? {}).reduce((sum, durationMs) => sum + durationMs, 0);
  expect(record?.totalMs).toBe(53);
  expect(sumMs).toBeCloseTo(53, 9);
});

test('a start ahead of demand has no answer and is over when it is routed', () => {
  const log = new ColdStartLog();
  begin(log, 'x', undefined);
  log.event('x', { event: 'claimed', elapsedMs: 0 }, 1_001);
  log.event('x', { event: 'warmed', elapsedMs: 30 }, 1_031);
  log.routed('x', 1_032);
  expect(answer(log, 'x', { queuedMs: 1, upstreamMs: 1, agoMs: 1 }, 2_000)).toBeUndefined();
  expect(log.list()).toMatchObject([{ demanded: false, outcome: 'ready', totalMs: 32 }]);
});

test('a failed start keeps its phases and says why', () => {
  const log = new ColdStartLog();
  begin(log, 'x', 2);
  log.event('x', { event: 'claimed', elapsedMs: 0 }, 1_001);
  log.event('x', { event: 'failed', elapsedMs: 9, code: 'model-not-found', message: 'gone' }, 1_010);
  log.routed('x', 1_020);
  expect(log.list()).toMatchObject([
    { outcome: 'failed', error: 'model-not-found: gone', phasesMs: { decided: 2, claimed: 1 } },
  ]);
});

test('a start that was called off leaves no record; one that is over stays', () => {
  const log = new ColdStartLog();
  begin(log, 'x', 2);
  log.drop('x');
  expect(log.list()).toEqual([]);
  begin(log, 'y', 2);
  log.routed('y', 1_001);
  log.drop('y');
  expect(log.list()).toHaveLength(1);
});

test('a start is awaited from its decision to its answer, as long as it is young and somebody waits', () => {
  const log = new ColdStartLog();
  begin(log, 'ahead', undefined);
  expect(log.isAwaited('uid', 0)).toBe(false);
  begin(log, 'x', 3);
  expect(log.isAwaited('uid', 1_000)).toBe(true);
  expect(log.isAwaited('uid', 1_001)).toBe(false);
  expect(log.isAwaited('other', 0)).toBe(false);
  log.routed('x', 1_029);
  expect(log.isAwaited('uid', 1_000)).toBe(true);
  answer(log, 'x', { queuedMs: 32, upstreamMs: 21, agoMs: 53 }, 1_050);
  expect(log.isAwaited('uid', 0)).toBe(false);
  begin(log, 'y', 3);
  log.fail('y', 'model-invalid');
  expect(log.isAwaited('uid', 0)).toBe(false);
});

test('the newest hundred are kept, newest first, and can be asked for by service', () => {
  const log = new ColdStartLog();
  for (let n = 0; n < MAX_COLD_STARTS + 5; n++) begin(log, `x${n}`, undefined);
  expect(log.list()).toHaveLength(MAX_COLD_STARTS);
  expect(log.list()[0]?.replica).toBe(`x${MAX_COLD_STARTS + 4}`);
  expect(log.has('x4')).toBe(false);
  expect(log.list({ service: 'vad' })).toEqual([]);
});

test('property: phases are never negative and add up to the time from arrival to the last mark', () => {
  const times = fc.array(fc.double({ min: 0, max: 1_000, noNaN: true }), { minLength: 6, maxLength: 6 });
  fc.assert(
    fc.property(
      times,
      fc.double({ min: 0, max: 50, noNaN: true }),
      ([a = 0, b = 0, c = 0, d = 0, e = 0, f = 0], queuedMs) => {
        const log = new ColdStartLog();
        begin(log, 'x', queuedMs);
        log.event('x', { event: 'claimed', elapsedMs: 0.1 }, 1_000 + a);
        log.event(
          'x',
          { event: 'fetched', elapsedMs: 0.1 + b, cached: false, sizeBytes: 1, identity: IDENTITY },
          1_000 + a + b,
        );
        log.event('x', { event: 'created', elapsedMs: 0.1 + b + c }, 1_000 + a + b + c);
        const routedMs = 1_000 + a + b + c + d;
        log.routed('x', routedMs);
        const doneMs = routedMs + e;
        const total = doneMs - (1_000 - queuedMs);
        const record = answer(
          log,
          'x',
          { queuedMs: total / 2, upstreamMs: total / 2, agoMs: total + f },
          doneMs + f,
        );
        const phases = Object.values(record?.phasesMs ?? {});
        for (const ms of phases) expect(ms).toBeGreaterThanOrEqual(0);
        expect(phases.reduce((sum, ms) => sum + ms, 0)).toBeCloseTo(record?.totalMs ?? -1, 6);
      },
    ),
  );
});

test('a cold start in a sentence names its phases in order, and whether the model was in the cache', () => {
  const log = new ColdStartLog();
  begin(log, 'x', 3);
  log.event('x', { event: 'claimed', elapsedMs: 0 }, 1_006);
  log.event(
    'x',
    { event: 'fetched', elapsedMs: 0.3, cached: true, sizeBytes: 1, identity: IDENTITY },
    1_006.3,
  );
  log.event('x', { event: 'created', elapsedMs: 71.3 }, 1_077.3);
  log.event('x', { event: 'warmed', elapsedMs: 91.3 }, 1_097.3);
  log.routed('x', 1_106.3);
  const record = log.get('x');
  expect(record && coldStartSentence(record)).toBe(
    'cold start 109 ms: decided 3, claimed 6, fetched 0 (cached), created 71, warmed 20, routed 9',
  );
});
