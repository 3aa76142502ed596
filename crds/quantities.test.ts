import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { formatQuantity, parseQuantity } from './quantities.ts';

describe('parseQuantity', () => {
  it.each([
    ['500m', 0.5],
    ['100m', 0.1],
    ['2', 2],
    [3, 3],
    ['0.5', 0.5],
    ['.5', 0.5],
    ['1Ki', 1_024],
    ['1Gi', 1_073_741_824],
    ['1.5Gi', 1_610_612_736],
    ['1G', 1e9],
    ['1E', 1e18],
    ['1e3', 1_000],
    ['1E3', 1_000],
    ['12e6', 12e6],
    ['100n', 1e-7],
  ])('reads %s as %d', (text, value) => {
    expect(parseQuantity(text)).toEqual({ ok: true, value });
  });

  it.each(['', 'm', '-1', '1 Gi', '1K', 'Gi', '1.2.3', '0x10', 'NaN', '16Ei'])('refuses %j', (text) => {
    expect(parseQuantity(text)).toMatchObject({
      ok: false,
      message: expect.stringContaining('expected a quantity'),
    });
  });

  it.each([
    ['3GB', 'Gi'],
    ['512mb', 'Mi'],
    ['1 KiB', 'Ki'],
  ])('says which unit %s may mean', (text, unit) => {
    expect(parseQuantity(text)).toMatchObject({ ok: false, message: expect.stringContaining(`"${unit}"`) });
  });

  it('reads back whatever formatQuantity writes, to the last bit', () => {
    const amount = fc.oneof(
      fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER }),
      fc.integer({ min: 0, max: 8_000 }).map((thousandths) => thousandths / 1_000),
      fc.double({ min: 0, max: 2 ** 62, noNaN: true }),
      fc.integer({ min: 0, max: 1_023 }).map((count) => count * 2 ** 40),
    );
    fc.assert(
      fc.property(amount, (value) => {
        expect(parseQuantity(formatQuantity(value))).toEqual({ ok: true, value: value === 0 ? 0 : value });
      }),
    );
  });

  it('never throws, whatever the text', () => {
    fc.assert(fc.property(fc.string(), (text) => void parseQuantity(text)));
  });
});

it('formatQuantity prefers the notation that people use', () => {
  expect([0, 0.5, 2, 1_073_741_824, 1_000].map(formatQuantity)).toEqual(['0', '500m', '2', '1Gi', '1000']);
});
