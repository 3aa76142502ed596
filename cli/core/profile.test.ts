import fc from 'fast-check';
import { expect, test } from 'vitest';
import { configurations, profilePlan } from './profile-plan.ts';
import { type Profile, profileLines } from './profile-report.ts';
import { profileSvg } from './profile-svg.ts';
import { type MeasuredConfiguration, manifestOf, recommend, serviceName } from './recommendation.ts';
import { createStyle } from './style.ts';

const row = (batch: number, p50Ms: number, itemsPerSecond: number) => ({
  batch,
  runs: 10,
  p50Ms,
  p95Ms: p50Ms * 2,
  itemsPerSecond,
});
const measured = (
  threads: number,
  instances: number,
  rows: MeasuredConfiguration['rows'],
): MeasuredConfiguration => ({ threads, instances, rows, anonymousBytes: 100e6, mappedBytes: 50e6 });

test('one thread, all CPUs in one session, and halves between are measured, and none asks for more CPUs than there are', () => {
  expect(configurations(1)).toEqual([{ threads: 1, instances: 1 }]);
  expect(configurations(2.5)).toEqual([
    { threads: 1, instances: 1 },
    { threads: 2, instances: 1 },
    { threads: 1, instances: 2 },
  ]);
  fc.assert(
    fc.property(
      fc.double({ min: 0.1, max: 256, noNaN: true }),
      fc.integer({ min: 1, max: 600 }),
      (cpus, seconds) => {
        const plan = profilePlan(cpus, true, seconds);
        const loadMs = plan.configurations.length * plan.batches.length * plan.sliceMs;
        for (const { threads, instances } of plan.configurations) {
          expect(threads * instances).toBeLessThanOrEqual(Math.max(1, cpus));
        }
        expect(loadMs).toBeLessThanOrEqual(Math.max(seconds * 700, plan.configurations.length * 7 * 100) + 1);
      },
    ),
  );
});

test('a model that gains nothing from a second thread is given one CPU, and one that does gets its threads', () => {
  const flat = recommend([
    measured(1, 1, [row(1, 2, 500)]),
    measured(2, 1, [row(1, 1.9, 520)]),
    measured(1, 2, [row(1, 2, 1000)]),
  ]);
  expect(flat).toMatchObject({ threads: 1, instances: 1, cpus: 1, concurrency: 1 });
  const steep = recommend([
    measured(1, 1, [row(1, 20, 50)]),
    measured(2, 1, [row(1, 10, 100)]),
    measured(1, 2, [row(1, 20, 100)]),
  ]);
  expect(steep).toMatchObject({ threads: 2, instances: 1, cpus: 2 });
});

test('of batches the smallest that is nearly the best is told, and none where they gain little', () => {
  const gains = recommend([
    measured(1, 1, [row(1, 1, 1000), row(4, 2, 2000), row(8, 2.1, 3800), row(16, 4, 4000)]),
  ]);
  expect(gains).toMatchObject({ batch: 8, batchLatencyMs: 2.1, concurrency: 8 });
  const about = { name: 'm', storageUri: 'file:///m.onnx' };
  expect(manifestOf(about, gains)).toContain('    batcher:\n      maxBatchSize: 8\n');
  const none = recommend([measured(1, 1, [row(1, 1, 1000), row(4, 4, 1010)])]);
  expect(none).toMatchObject({ batch: 1, batchLatencyMs: 0, concurrency: 1 });
  expect(manifestOf(about, none)).not.toContain('batcher');
});

test.each([
  ['s3://bucket/models/ResNet_50.onnx', 'resnet-50'],
  ['./a/2/model.onnx?x#y', 'model'],
  ['/models/123/', 'model'],
  [`/${'x'.repeat(80)}.onnx`, 'x'.repeat(45)],
])('the name of a service for %s is %s', (uri, name) => expect(serviceName(uri)).toBe(name));

function profile(): Profile {
  const list = [measured(1, 1, [row(1, 2, 500), row(64, 100, 900)])];
  const recommendation = recommend(list);
  const start = { openedMs: 1, createMs: 2, firstRunMs: 3, totalMs: 6, coldBytes: 0, kind: 'plain' };
  return {
    model: 'a <b> & "c".onnx',
    sizeBytes: 5e6,
    cpus: 1,
    takesBatches: true,
    starts: [{ name: 'nothing cached', meaning: 'fetched, weights put outside', measures: [start] }],
    measured: list,
    recommendation,
    manifest: manifestOf({ name: 'm', storageUri: 'file:///m.onnx' }, recommendation),
  };
}

test('a report stays within the terminal’s columns, and has no codes where colours are off', () => {
  for (const columns of [64, 80, 100, 200]) {
    const lines = profileLines(profile(), createStyle(false), columns);
    expect(lines.join('\n')).not.toContain('\u001B');
    const bars = lines.filter((line) => line.includes('█'));
    expect(bars.length).toBeGreaterThan(2);
    for (const line of bars) expect(line.length).toBeLessThanOrEqual(columns);
  }
});

test('the picture is well-formed whatever the model is called', () => {
  const svg = profileSvg(profile());
  expect(svg).toContain('a &lt;b&gt; &amp; &quot;c&quot;.onnx');
  expect(svg.match(/<(?!\/|\?)[a-z]+[^>]*[^/]>/g)?.length).toBe(svg.match(/<\/[a-z]+>/g)?.length);
});
