import { expect, test } from 'vitest';
import { listenHost } from './listen-host.ts';

const refusing = (code: string) => () => Promise.reject(Object.assign(new Error(code), { code }));

test('an address is taken as it is, without a try', async () => {
  const fell: Error[] = [];
  const fail = (): Promise<never> => Promise.reject(new Error('not to be asked'));
  expect(await listenHost('127.0.0.1', (why) => fell.push(why), fail)).toBe('127.0.0.1');
  expect(fell).toEqual([]);
});

test.each(['EAFNOSUPPORT', 'EADDRNOTAVAIL'])(
  'where %s says that there is no IPv6 it is IPv4, and said',
  async (code) => {
    const fell: Error[] = [];
    expect(await listenHost('::', (why) => fell.push(why), refusing(code))).toBe('0.0.0.0');
    expect(fell).toMatchObject([{ code }]);
  },
);

test('any other trouble is told', async () => {
  await expect(listenHost('::', () => undefined, refusing('EMFILE'))).rejects.toThrow('EMFILE');
});

test('where there is IPv6 it is taken', async () => {
  expect(
    await listenHost(
      '::',
      () => undefined,
      () => Promise.resolve(),
    ),
  ).toBe('::');
});
