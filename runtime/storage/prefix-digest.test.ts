import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, expect, test } from 'vitest';
import { PrefixDigest } from './prefix-digest.ts';

const folder = mkdtempSync(join(tmpdir(), 'pilotlight-digest-'));
const path = join(folder, 'part');
const never = new AbortController().signal;
const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

afterAll(() => rmSync(folder, { recursive: true }));

test('what is there is in the digest before the rest has come', async () => {
  const content = Buffer.alloc(5_000_000, 'abc');
  writeFileSync(path, content);
  const digest = new PrefixDigest(path, never);
  digest.advance(3_000_000);
  await expect.poll(() => digest.hashedBytes).toBe(3_000_000);
  digest.advance(content.length);
  expect(await digest.finish()).toBe(sha256(content));
});

test('it is the digest of the last content, however that came and however often it began anew', async () => {
  const step = fc.record({ part: fc.double({ min: 0, max: 1, noNaN: true }), isWaitedFor: fc.boolean() });
  const attempt = fc.record({
    content: fc.uint8Array({ maxLength: 3000 }),
    steps: fc.array(step, { maxLength: 5 }),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(attempt, { minLength: 1, maxLength: 4 }), async (attempts) => {
      writeFileSync(path, '');
      const digest = new PrefixDigest(path, never);
      for (const { content, steps } of attempts) {
        truncateSync(path, 0);
        digest.advance(0);
        writeFileSync(path, content);
        const ends = steps
          .map(({ part }) => Math.floor(part * content.length))
          .sort((left, right) => left - right);
        for (const [index, end] of ends.entries()) {
          digest.advance(end);
          if (steps[index]?.isWaitedFor === true)
            await expect.poll(() => digest.hashedBytes, { interval: 1 }).toBe(end);
        }
        digest.advance(content.length);
      }
      expect(await digest.finish()).toBe(sha256(attempts.at(-1)?.content ?? Buffer.alloc(0)));
    }),
    { numRuns: 200 },
  );
});

test('a file that is shorter than was said, and one that is not there, end the wait with an error', async () => {
  writeFileSync(path, 'short');
  const digest = new PrefixDigest(path, never);
  digest.advance(6);
  await expect(digest.finish()).rejects.toThrow('ended at byte 5');
  const absent = new PrefixDigest(join(folder, 'absent'), never);
  absent.advance(1);
  await expect(absent.finish()).rejects.toThrow('ENOENT');
});

test('who gives up the fetch gives up the digest', async () => {
  writeFileSync(path, Buffer.alloc(100_000));
  const controller = new AbortController();
  const digest = new PrefixDigest(path, controller.signal);
  controller.abort(new Error('given up'));
  digest.advance(100_000);
  await expect(digest.finish()).rejects.toThrow('given up');
});
