import { expect, test } from 'vitest';
import { Expiring } from './expiring.ts';

const MINUTE_MS = 60_000;

/** A credential of an hour, numbered by how often one was fetched. */
function counting(answers: { fail?: boolean } = {}) {
  const clock = { nowMs: 0 };
  let fetched = 0;
  const expiring = new Expiring(
    async () => {
      fetched += 1;
      await Promise.resolve();
      if (answers.fail === true) throw new Error(`refused ${fetched}`);
      return { number: fetched, expiresAtMs: clock.nowMs + 60 * MINUTE_MS };
    },
    () => clock.nowMs,
  );
  return { clock, expiring, fetched: () => fetched, answers };
}

test('is fetched once for all who ask, and again five minutes before its end', async () => {
  const { clock, expiring, fetched } = counting();
  const all = await Promise.all(Array.from({ length: 8 }, () => expiring.get()));
  expect(all.map(({ number }) => number)).toEqual(Array.from({ length: 8 }, () => 1));
  clock.nowMs = 54 * MINUTE_MS;
  expect((await expiring.get()).number).toBe(1);
  clock.nowMs = 55 * MINUTE_MS;
  const renewed = await Promise.all(Array.from({ length: 8 }, () => expiring.get()));
  expect(renewed.map(({ number }) => number)).toEqual(Array.from({ length: 8 }, () => 2));
  expect(fetched()).toBe(2);
});

test('a failure is told to all who wait for it and kept for nobody else', async () => {
  const { expiring, answers } = counting({ fail: true });
  const all = await Promise.allSettled([expiring.get(), expiring.get()]);
  expect(all.map(({ status }) => status)).toEqual(['rejected', 'rejected']);
  answers.fail = false;
  expect((await expiring.get()).number).toBe(2);
});
