import type { LookupAddress } from 'node:dns';
import { expect, test } from 'vitest';
import { rememberingLookup } from './remembering-lookup.ts';

type Answer = LookupAddress[] | 'error' | 'silence';

/** A resolver that answers as it is told, and the lookup over it. */
function resolver(patienceMs = 1): {
  answer: Answer;
  questions: number;
  all(hostname: string): Promise<LookupAddress[]>;
  one(hostname: string): Promise<string>;
} {
  const lookup = rememberingLookup((_hostname, _options, callback) => {
    state.questions += 1;
    const { answer } = state;
    if (answer === 'silence') return;
    queueMicrotask(() => {
      if (answer === 'error') callback(Object.assign(new Error('no DNS'), { code: 'EAI_AGAIN' }), []);
      else callback(null, answer);
    });
  }, patienceMs);
  const state = {
    answer: [] as Answer,
    questions: 0,
    all: (hostname: string) =>
      new Promise<LookupAddress[]>((resolve, reject) => {
        lookup(hostname, { all: true }, (error, addresses) =>
          error ? reject(error) : resolve(addresses as LookupAddress[]),
        );
      }),
    one: (hostname: string) =>
      new Promise<string>((resolve, reject) => {
        lookup(hostname, {}, (error, address) => (error ? reject(error) : resolve(address as string)));
      }),
  };
  return state;
}

const FIRST = [{ address: '10.96.0.7', family: 4 }];
const SECOND = [{ address: '10.96.0.8', family: 4 }];

test('a name leads where the resolver says', async () => {
  const dns = resolver();
  dns.answer = FIRST;
  expect(await dns.all('controller')).toEqual(FIRST);
  expect(await dns.one('controller')).toBe('10.96.0.7');
});

test('a name that was resolved once leads where it led while DNS fails or is silent', async () => {
  const dns = resolver();
  dns.answer = FIRST;
  await dns.all('controller');
  dns.answer = 'error';
  expect(await dns.all('controller')).toEqual(FIRST);
  dns.answer = 'silence';
  expect(await dns.all('controller')).toEqual(FIRST);
  expect(await dns.one('controller')).toBe('10.96.0.7');
});

test('a name that never was resolved fails as the resolver does', async () => {
  const dns = resolver();
  dns.answer = 'error';
  await expect(dns.all('controller')).rejects.toMatchObject({ code: 'EAI_AGAIN' });
  await expect(dns.one('controller')).rejects.toMatchObject({ code: 'EAI_AGAIN' });
});

test('a new answer takes the place of the old one', async () => {
  const dns = resolver(60_000);
  dns.answer = FIRST;
  await dns.all('controller');
  dns.answer = SECOND;
  expect(await dns.all('controller')).toEqual(SECOND);
  dns.answer = 'error';
  expect(await dns.all('controller')).toEqual(SECOND);
});

test('while a question is under way no other is asked for the same name', async () => {
  const dns = resolver();
  dns.answer = FIRST;
  await dns.all('controller');
  dns.answer = 'silence';
  await Promise.all(Array.from({ length: 5 }, () => dns.all('controller')));
  expect(dns.questions).toBe(2);
});

test('an address needs no resolver', async () => {
  const dns = resolver();
  expect(await dns.all('10.0.0.1')).toEqual([{ address: '10.0.0.1', family: 4 }]);
  expect(dns.questions).toBe(0);
});
