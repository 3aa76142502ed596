import { gunzipSync, gzipSync, inflateSync } from 'node:zlib';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { ByteBudget } from './byte-budget.ts';
import { acceptedCoding, compress, decodeContent } from './content-coding.ts';
import { HeldBytes } from './read-body.ts';

test.each([
  [undefined, undefined],
  ['', undefined],
  ['br', undefined],
  ['gzip', 'gzip'],
  ['gzip, deflate, br', 'gzip'],
  ['deflate', 'deflate'],
  ['gzip;q=0.1, deflate;q=0.9', 'deflate'],
  ['gzip;q=0', undefined],
  ['identity, gzip;q=0.5', undefined],
  ['GZIP ; Q=0.5', 'gzip'],
  ['x-gzip', 'gzip'],
  ['gzip;q=abc', undefined],
])('Accept-Encoding %j gets %j', (header, coding) => {
  expect(acceptedCoding(header)).toBe(coding);
});

test('what is compressed comes out as it went in, and what is small is not compressed', async () => {
  expect(await compress([Buffer.from('small')], 5, 'gzip')).toBeUndefined();
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.uint8Array({ minLength: 1, maxLength: 3000 }), { minLength: 1, maxLength: 5 }),
      async (chunks) => {
        const whole = Buffer.concat(chunks);
        const gzipped = await compress(chunks, whole.length, 'gzip');
        const deflated = await compress(chunks, whole.length, 'deflate');
        expect(gzipped === undefined).toBe(whole.length < 1024);
        if (gzipped !== undefined) expect(gunzipSync(Buffer.concat(gzipped)).equals(whole)).toBe(true);
        if (deflated !== undefined) expect(inflateSync(Buffer.concat(deflated)).equals(whole)).toBe(true);
      },
    ),
    { numRuns: 30 },
  );
});

test('what a body inflates to is accounted, and given back when it is refused', async () => {
  const budget = new ByteBudget(1000);
  const held = new HeldBytes(budget);
  const body = gzipSync(Buffer.alloc(900));
  expect(await decodeContent(body, 'gzip', 2000, held)).toHaveLength(900);
  expect(budget.heldBytes).toBe(900);
  await expect(decodeContent(body, 'gzip', 2000, held)).rejects.toMatchObject({ code: 'server-busy' });
  held.release();
  held.release();
  expect(budget.heldBytes).toBe(0);
});
