import { execFileSync } from 'node:child_process';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type TarEntry, tarArchive } from './tar.ts';

const TIME_SECONDS = 1_577_836_800;

const listed = (entries: readonly TarEntry[]): string[] =>
  execFileSync('tar', ['--list', '--verbose', '--numeric-owner', '--utc', '--full-time'], {
    input: Buffer.concat(tarArchive(entries, TIME_SECONDS)),
    encoding: 'utf8',
  })
    .trim()
    .split('\n')
    .map((line) => line.replaceAll(/\s+/g, ' '));

test('tar reads paths, rights, owners, sizes and the one time, and finds the folders above each file', () => {
  const entries: TarEntry[] = [
    { path: 'usr/local/bin/node', mode: 0o755, bytes: Buffer.alloc(513) },
    { path: 'cache', mode: 0o1777, owner: { uid: 65_532, gid: 65_532 } },
  ];
  expect(listed(entries)).toEqual([
    'drwxrwxrwt 65532/65532 0 2020-01-01 00:00:00 cache/',
    'drwxr-xr-x 0/0 0 2020-01-01 00:00:00 usr/',
    'drwxr-xr-x 0/0 0 2020-01-01 00:00:00 usr/local/',
    'drwxr-xr-x 0/0 0 2020-01-01 00:00:00 usr/local/bin/',
    '-rwxr-xr-x 0/0 513 2020-01-01 00:00:00 usr/local/bin/node',
  ]);
});

test('a path of more than 100 bytes is kept, one that cannot be cut is refused', () => {
  const long = `${'folder/'.repeat(20)}file.js`;
  expect(listed([{ path: long, mode: 0o644, bytes: Buffer.of(1) }]).at(-1)).toContain(` ${long}`);
  const whole = { path: 'x'.repeat(101), mode: 0o644, bytes: Buffer.of(1) };
  expect(() => tarArchive([whole], TIME_SECONDS)).toThrow(RangeError);
});

test('the order in which files are given does not show', () => {
  const names = fc.uniqueArray(fc.stringMatching(/^[a-z]{1,8}(\/[a-z]{1,8}\.js){1,2}$/), { maxLength: 12 });
  const entry = (path: string): TarEntry => ({ path, mode: 0o644, bytes: Buffer.from(path) });
  const sorted = names.chain((paths) =>
    fc.tuple(fc.constant(paths), fc.shuffledSubarray(paths, { minLength: paths.length })),
  );
  fc.assert(
    fc.property(sorted, ([paths, shuffled]) => {
      const [one, other] = [paths, shuffled].map((list) =>
        Buffer.concat(tarArchive(list.map(entry), TIME_SECONDS)),
      );
      expect(one?.equals(other ?? Buffer.alloc(0))).toBe(true);
    }),
  );
});
