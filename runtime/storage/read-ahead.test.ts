import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { isResident, readAhead } from './read-ahead.ts';

const MIB = 1024 ** 2;
let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'pilotlight-ahead-'));
});
afterEach(async () => {
  await rm(folder, { recursive: true, force: true });
});

const { signal } = new AbortController();

test('small files and those that memory has no room for are left alone', async () => {
  const path = join(folder, 'file');
  await writeFile(path, Buffer.alloc(MIB));
  expect(await readAhead(path, 1024 * MIB, signal)).toEqual({ read: 'nothing', because: 'small' });
  await writeFile(path, Buffer.alloc(20 * MIB));
  expect(await readAhead(path, 30 * MIB, signal)).toEqual({ read: 'nothing', because: 'memory' });
});

test('a missing file is an error', async () => {
  await expect(readAhead(join(folder, 'none'), 1024 * MIB, signal)).rejects.toMatchObject({ code: 'ENOENT' });
});

test('the median of the samples tells memory from disk: a hiccup or a lucky hit does not', () => {
  expect(isResident([0.003, 0.004, 0.005, 0.2, 0.02])).toBe(true);
  expect(isResident([0.031, 0.04, 0.1, 0.004, 0.033])).toBe(false);
  expect(isResident([6])).toBe(false);
  expect(isResident([])).toBe(false);
});
