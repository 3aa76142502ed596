import { Counter, Histogram, Registry } from 'prom-client';
import { expect, test } from 'vitest';
import { OwnedSeries } from './metrics.ts';

test('the series of one owner go with it, histograms included, and those of others stay', async () => {
  const registry = new Registry();
  const registers = [registry];
  const failed = new Counter({ name: 'failed', help: '-', labelNames: ['service', 'code'], registers });
  const took = new Histogram({ name: 'took', help: '-', labelNames: ['service'], buckets: [1], registers });
  const owned = new OwnedSeries();
  for (const service of ['ocr', 'vad']) {
    failed.inc(owned.note(service, failed, { service, code: 'a' }));
    failed.inc(owned.note(service, failed, { service, code: 'b' }));
    failed.inc(owned.note(service, failed, { service, code: 'b' }));
    took.observe(owned.note(service, took, { service }), 0.5);
  }
  owned.forget('ocr');
  owned.forget('never-there');
  const text = await registry.metrics();
  expect(text).not.toContain('ocr');
  expect(text).toContain('failed{service="vad",code="b"} 2');
  expect(text).toContain('took_count{service="vad"} 1');
});
