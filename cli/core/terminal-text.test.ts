import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { ColdStart } from '../../contracts/cold-start.ts';
import type { ServiceView } from '../../contracts/console.ts';
import { bestLabels } from '../../vision/labels.ts';
import { loadLine, scaleOutLine } from './load-summary.ts';
import { statusTable } from './status-table.ts';
import { createStyle, wantsColour } from './style.ts';
import { tensorText } from './tensor-text.ts';
import { formatBytes, formatMs, formatRate, quantile } from './units.ts';
import { barBetween, phaseCoverage, waterfallLines } from './waterfall.ts';

const PLAIN = createStyle(false);
const START: ColdStart = {
  namespace: 'default',
  service: 'ocr',
  revision: 'ocr-00001',
  replica: 'r',
  atMs: 0,
  via: 'standby',
  demanded: true,
  cached: true,
  outcome: 'answered',
  phasesMs: { decided: 10, claimed: 0, created: 50, answered: 40 },
  totalMs: 100,
};

test('a cold start in a pipe is one line a phase, in order, without bars', () => {
  const lines = waterfallLines(START, PLAIN, false);
  expect(lines.map((line) => line.slice(0, 18))).toEqual([
    'decided    10.0 ms',
    'claimed    0.00 ms',
    'created    50.0 ms',
    'answered   40.0 ms',
  ]);
  expect(lines.join('')).not.toMatch(/[\u2580-\u259F]/);
});

test('each bar begins where the one before it ended, and a phase of no time is still seen', () => {
  const bars = waterfallLines(START, PLAIN, true).map((line) => line.slice(20, 60));
  expect(bars).toEqual([
    `████${' '.repeat(36)}`,
    `    ▏${' '.repeat(35)}`,
    `    ${'█'.repeat(20)}${' '.repeat(16)}`,
    `${' '.repeat(24)}${'█'.repeat(16)}`,
  ]);
});

test('no bar is wider than the room for it or invisible', () => {
  const ms = fc.double({ min: 0, max: 1e6, noNaN: true });
  fc.assert(
    fc.property(ms, ms, ms, (fromMs, durationMs, restMs) => {
      const wholeMs = fromMs + durationMs + restMs;
      fc.pre(wholeMs > 0);
      const bar = barBetween(fromMs, fromMs + durationMs, wholeMs, 40);
      expect(bar.length).toBeLessThanOrEqual(40);
      expect(bar.trim()).not.toBe('');
    }),
  );
});

test('the coverage of a cold start tells a hole from a whole', () => {
  expect(phaseCoverage(START)).toBe(1);
  expect(phaseCoverage({ ...START, phasesMs: { decided: 10 } })).toBe(0.1);
});

const service = (values: Partial<ServiceView>): ServiceView => ({
  namespace: 'default',
  name: 'ocr',
  uid: 'u',
  url: 'http://ocr.default.localhost:8080',
  generation: 1,
  state: 'Standby',
  ready: true,
  replicas: { wanted: 0, ready: 0, starting: 0 },
  queued: 0,
  inFlight: 0,
  requestsPerSecond: 0,
  latestRevision: 'ocr-00001',
  status: {},
  ...values,
});

test('the table of services is in order of their names, with a dash where nothing was ever started', () => {
  const text = statusTable(
    [service({ name: 'vad', state: 'Ready', requestsPerSecond: 12.34, lastColdStartMs: 87.4 }), service({})],
    PLAIN,
  );
  expect(text.split('\n').map((line) => line.split(/ {2,}/))).toEqual([
    ['SERVICE', 'STATE', 'READY', 'WANTED', 'REQ/S', 'LAST COLD START', 'URL'],
    ['ocr', 'Standby', '0', '0', '0', '–', 'http://ocr.default.localhost:8080'],
    ['vad', 'Ready', '0', '0', '12.3', '87.4 ms', 'http://ocr.default.localhost:8080'],
  ]);
});

test('namespaces are shown where they tell services apart, and below the table what is wrong', () => {
  const text = statusTable(
    [service({}), service({ namespace: 'team', state: 'Failed', message: 'model-not-found: gone' })],
    PLAIN,
  );
  expect(text).toContain('team/ocr');
  expect(text).toMatch(/\n\nteam\/ocr: model-not-found: gone$/);
});

test('no service at all says how to get one', () => {
  expect(statusTable([], PLAIN)).toContain('put an InferenceService manifest');
});

test('small tensors are shown whole, large ones with their ends and statistics', () => {
  const small = { name: 'y', datatype: 'FP32', shape: [1, 2], values: Float32Array.from([0.1, 2]) };
  expect(tensorText(small)).toBe('y  FP32 [1, 2]\n  [[0.1, 2]]');
  const large = { name: 'y', datatype: 'FP32', shape: [200], values: new Float32Array(200).fill(0.5) };
  expect(tensorText(large)).toBe(
    'y  FP32 [200]\n  min 0.5, max 0.5, mean 0.5\n  [0.5, 0.5, 0.5, …, 0.5, 0.5, 0.5]',
  );
  const scalar = { name: 'n', datatype: 'INT64', shape: [], values: [9_007_199_254_740_993n] };
  expect(tensorText(scalar)).toBe('n  INT64 []\n  9007199254740993');
});

test('scores become probabilities only where they are none', () => {
  const rows = (values: number[]) => bestLabels({ name: 'y', shape: [1, 2], values }, 'cat\ndog\n', 5)[0];
  expect(rows([0.25, 0.75])).toEqual([
    { label: 'dog', probability: 0.75 },
    { label: 'cat', probability: 0.25 },
  ]);
  expect(rows([0, Math.log(3)])?.[0]?.probability).toBeCloseTo(0.75, 9);
  expect(() => bestLabels({ name: 'y', shape: [1, 3], values: [1, 2, 3] }, 'cat\ndog\n', 5)).toThrow(
    'has 2 lines, the model has 3 classes',
  );
});

test.each([
  [formatMs(0.42), '0.42 ms'],
  [formatMs(87.44), '87.4 ms'],
  [formatMs(999.6), '1.00 s'],
  [formatMs(90_000), '1.5 min'],
  [formatRate(0), '0'],
  [formatRate(1_840.2), '1,840'],
  [formatBytes(512), '512 B'],
  [formatBytes(10_822_323), '10.8 MB'],
])('%s', (text, expected) => {
  expect(text).toBe(expected);
});

test('a load is summed up with its quantiles and its rate', () => {
  expect(loadLine([1, 2, 3, 100], 2_000)).toBe('4 requests, p50 2.00 ms, p99 100 ms, 2.0 requests/s');
  expect(loadLine([], 1_000)).toBe('no request was answered');
});

test('a quantile is one of the samples, and never falls with its share', () => {
  fc.assert(
    fc.property(
      fc.array(fc.integer(), { minLength: 1 }),
      fc.double({ min: 0, max: 1, noNaN: true }),
      fc.double({ min: 0, max: 1, noNaN: true }),
      (samples, one, other) => {
        const sorted = samples.toSorted((left, right) => left - right);
        const [low, high] = one < other ? [one, other] : [other, one];
        expect(sorted).toContain(quantile(sorted, low));
        expect(quantile(sorted, low)).toBeLessThanOrEqual(quantile(sorted, high));
      },
    ),
  );
});

test('a scale-out tells when each number of replicas was first seen', () => {
  const samples = [1, 1, 2, 1, 4].map((ready, index) => ({ atMs: index * 100, ready }));
  expect(scaleOutLine(samples)).toBe('1 → 2 after 200 ms → 4 after 400 ms');
});

test('colours are for terminals, and NO_COLOR is above everything', () => {
  expect(wantsColour({}, true)).toBe(true);
  expect(wantsColour({}, false)).toBe(false);
  expect(wantsColour({ TERM: 'dumb' }, true)).toBe(false);
  expect(wantsColour({ FORCE_COLOR: '1' }, false)).toBe(true);
  expect(wantsColour({ NO_COLOR: '1', FORCE_COLOR: '1' }, true)).toBe(false);
  expect(PLAIN.red('x')).toBe('x');
  expect(createStyle(true).red('x')).toBe('\u001B[31mx\u001B[39m');
});
