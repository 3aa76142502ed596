import fc from 'fast-check';
import { beforeEach, expect, test } from 'vitest';
import { VerdictCache } from './core/verdict-cache.ts';
import { TokenReviewer, type TokenReviewStatus } from './token-review.ts';

const USERNAME = 'system:serviceaccount:pilotlight-system:pilotlight-activator';
const GOOD: TokenReviewStatus = { authenticated: true, username: USERNAME, audiences: ['pilotlight'] };

let nowMs = 1_790_000_000_000;
let asked: string[];
let answer: () => Promise<TokenReviewStatus>;
let reviewer: TokenReviewer;
beforeEach(() => {
  asked = [];
  answer = () => Promise.resolve(GOOD);
  reviewer = new TokenReviewer({
    review: (token, audiences) => {
      expect(audiences).toEqual(['pilotlight']);
      asked.push(token);
      return answer();
    },
    audience: 'pilotlight',
    username: USERNAME,
    nowMs: () => nowMs,
  });
});

/** The form of a ServiceAccount token; who signed it is for the API server to say. */
function tokenOf(lifetimeMs: number, more: Record<string, unknown> = {}): string {
  const part = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url');
  const claims = { aud: ['pilotlight'], exp: (nowMs + lifetimeMs) / 1000, ...more };
  return `${part({ alg: 'RS256' })}.${part(claims)}.signature`;
}
const outage = (): Promise<TokenReviewStatus> => Promise.reject(new Error('connection refused'));

test('a good token is reviewed once in its life, and not believed beyond it', async () => {
  const token = tokenOf(3_600_000);
  for (let minute = 0; minute < 59; minute++) {
    expect(await reviewer.authenticate(token)).toBe(true);
    nowMs += 60_000;
  }
  expect(asked).toEqual([token]);
  nowMs += 60_000;
  expect(await reviewer.authenticate(token)).toBe(false);
});

test('an API server that is away changes nothing for a token that is known, and says "not now" of another', async () => {
  const known = tokenOf(3_600_000);
  await reviewer.authenticate(known);
  answer = outage;
  nowMs += 1_800_000;
  expect(await reviewer.authenticate(known)).toBe(true);
  const other = tokenOf(3_600_000);
  await expect(reviewer.authenticate(other)).rejects.toMatchObject({ code: 'not-ready', status: 503 });
  await expect(reviewer.authenticate(other)).rejects.toMatchObject({ code: 'not-ready' });
  expect(asked).toHaveLength(2);
  answer = () => Promise.resolve(GOOD);
  nowMs += 500;
  expect(await reviewer.authenticate(other)).toBe(true);
});

test('a refused token is reviewed again after 10 s', async () => {
  const token = tokenOf(3_600_000);
  answer = () => Promise.resolve({ authenticated: false, error: 'invalid bearer token' });
  expect(await reviewer.authenticate(token)).toBe(false);
  nowMs += 9_999;
  expect(await reviewer.authenticate(token)).toBe(false);
  expect(asked).toHaveLength(1);
  nowMs += 1;
  answer = () => Promise.resolve(GOOD);
  expect(await reviewer.authenticate(token)).toBe(true);
});

test('one token that many show at once is one review', async () => {
  const token = tokenOf(3_600_000);
  const { promise, resolve } = Promise.withResolvers<TokenReviewStatus>();
  answer = () => promise;
  const verdicts = Array.from({ length: 50 }, () => reviewer.authenticate(token));
  resolve(GOOD);
  expect(new Set(await Promise.all(verdicts))).toEqual(new Set([true]));
  expect(asked).toHaveLength(1);
});

test.each([
  ['another account', { ...GOOD, username: 'system:serviceaccount:demo:default' }],
  ['another audience', { ...GOOD, audiences: ['https://kubernetes.default.svc'] }],
  ['no audience', { authenticated: true, username: USERNAME }],
  ['no authentication', { ...GOOD, authenticated: false }],
])('a token of %s is refused', async (_whose, status) => {
  answer = () => Promise.resolve(status);
  expect(await reviewer.authenticate(tokenOf(3_600_000))).toBe(false);
  expect(asked).toHaveLength(1);
});

test.each([
  ['is over', () => tokenOf(-1)],
  [
    'is for somebody else by its own words',
    () => tokenOf(1_000, { aud: ['https://kubernetes.default.svc'] }),
  ],
  ['names no audience', () => tokenOf(1_000, { aud: undefined })],
  ['never ends', () => tokenOf(1_000, { exp: undefined })],
  ['is no JWT', () => 'token'],
  ['is longer than any', () => `${tokenOf(1_000)}${'x'.repeat(20_000)}`],
])('a token that %s costs no review', async (_what, token) => {
  expect(await reviewer.authenticate(token())).toBe(false);
  expect(asked).toEqual([]);
});

test('strangers with ever new tokens get so many reviews at once and no more, and push out nobody', async () => {
  const known = tokenOf(3_600_000);
  await reviewer.authenticate(known);
  const { promise, resolve } = Promise.withResolvers<TokenReviewStatus>();
  answer = () => promise;
  const strangers = Array.from({ length: 100 }, (_, index) =>
    reviewer.authenticate(tokenOf(1_000_000, { sub: index })).catch((error: { code: string }) => error.code),
  );
  expect(asked).toHaveLength(17);
  expect(await reviewer.authenticate(known)).toBe(true);
  resolve({ authenticated: false });
  expect((await Promise.all(strangers)).filter((one) => one === 'server-busy')).toHaveLength(84);
});

test('what is kept is bounded, a verdict holds exactly until its end, and bad ones push out no good one', () => {
  const step = fc.record({
    key: fc.integer({ min: 0, max: 3_000 }).map(String),
    isGood: fc.boolean(),
    keptMs: fc.integer({ min: 0, max: 100 }),
    passMs: fc.integer({ min: 0, max: 20 }),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 300 }), (steps) => {
      const cache = new VerdictCache();
      const expected = new Map<string, { isGood: boolean; untilMs: number }>();
      let atMs = 0;
      for (const { key, isGood, keptMs, passMs } of steps) {
        cache.keep(key, { isGood, untilMs: atMs + keptMs });
        expected.set(key, { isGood, untilMs: atMs + keptMs });
        atMs += passMs;
        for (const [one, { isGood: wasGood, untilMs }] of expected) {
          expect(cache.find(one, atMs)).toBe(atMs < untilMs ? wasGood : undefined);
        }
      }
    }),
    { numRuns: 30 },
  );
  const cache = new VerdictCache();
  cache.keep('good', { isGood: true, untilMs: 10 });
  for (let number = 0; number < 5_000; number++) cache.keep(`${number}`, { isGood: false, untilMs: 10 });
  expect(cache.find('good', 0)).toBe(true);
  expect(cache.sizes).toEqual({ good: 1, bad: 1_000 });
});
