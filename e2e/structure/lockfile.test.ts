import { expect, test } from 'vitest';
import { missingEntries, readLockfile } from './lockfile.ts';

const lockfile = readLockfile();

test('the lockfile has an entry for every platform, without which a clean install is refused', () => {
  expect(missingEntries(lockfile)).toEqual([]);
});

test('an entry that is taken out is missed', () => {
  const { 'node_modules/@biomejs/cli-darwin-x64': _gone, ...packages } = lockfile.packages;
  expect(missingEntries({ ...lockfile, packages }).map(({ name }) => name)).toEqual([
    '@biomejs/cli-darwin-x64',
  ]);
});

test('the lockfile holds no download addresses', () => {
  const addresses = Object.values(lockfile.packages).filter(({ resolved }) => resolved !== undefined);
  expect(addresses).toEqual([]);
});

test('every version is exact', () => {
  const { dependencies, devDependencies } = lockfile.packages[''] as Record<string, Record<string, string>>;
  const inexact = Object.entries({ ...dependencies, ...devDependencies }).filter(
    ([, version]) => !/^\d/.test(version),
  );
  expect(inexact).toEqual([]);
});
