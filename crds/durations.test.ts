import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { formatDuration, parseDuration } from './durations.ts';

describe('parseDuration', () => {
  it.each([
    ['90s', 90_000],
    ['2m', 120_000],
    ['1h30m', 5_400_000],
    ['1.5s', 1_500],
    ['1.001s', 1_001],
    ['300ms', 300],
    ['0', 0],
    ['0s', 0],
    ['168h', 604_800_000],
  ])('reads %s as %d ms', (text, ms) => {
    expect(parseDuration(text)).toEqual({ ok: true, value: ms });
  });

  it.each(['', 's', '5', '-1s', '1 s', '1d', '5x', '1s2', '1e3s', 'Infinity', '0.1ms', '99999999h'])(
    'refuses %j with what was expected',
    (text) => {
      const parsed = parseDuration(text);
      expect(parsed).toMatchObject({ ok: false });
      expect(!parsed.ok && parsed.message).toMatch(/^expected a duration/);
    },
  );

  it('tells how to write bare seconds', () => {
    expect(parseDuration('60')).toMatchObject({ ok: false, message: expect.stringContaining('write "60s"') });
  });

  it('reads back whatever formatDuration writes', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 1e12 }), (ms) => {
        expect(parseDuration(formatDuration(ms))).toEqual({ ok: true, value: ms });
      }),
    );
  });

  it('adds the parts of a duration up, in any order', () => {
    const part = fc.tuple(
      fc.integer({ min: 0, max: 1_000 }),
      fc.constantFrom(['h', 3_600_000], ['m', 60_000], ['s', 1_000], ['ms', 1]),
    );
    fc.assert(
      fc.property(fc.array(part, { minLength: 1, maxLength: 6 }), (parts) => {
        const text = parts.map(([count, [unit]]) => `${count}${unit}`).join('');
        const totalMs = parts.reduce((sum, [count, [, unitMs]]) => sum + count * unitMs, 0);
        expect(parseDuration(text)).toEqual({ ok: true, value: totalMs });
      }),
    );
  });

  it('never throws, whatever the text', () => {
    fc.assert(fc.property(fc.string(), (text) => void parseDuration(text)));
  });
});

it('formatDuration writes the way Kubernetes does', () => {
  expect([0, 300, 90_000, 5_400_000].map(formatDuration)).toEqual(['0s', '300ms', '1m30s', '1h30m']);
});
