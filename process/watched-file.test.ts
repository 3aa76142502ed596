import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { WatchedFile } from './watched-file.ts';

let folder: string;
let path: string;
let nowMs = 0;
const troubles: Error[] = [];
const open = (): WatchedFile =>
  new WatchedFile(path, { nowMs: () => nowMs, onTrouble: (error) => troubles.push(error) });

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'watched-'));
  path = join(folder, 'token');
  writeFileSync(path, 'one\n');
  troubles.length = 0;
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

test('what is written anew is read a second later, what is replaced as well', () => {
  const file = open();
  writeFileSync(path, 'two');
  expect(file.text).toBe('one');
  nowMs += 1_000;
  expect(file.text).toBe('two');
  writeFileSync(`${path}.new`, 'three');
  renameSync(`${path}.new`, path);
  nowMs += 1_000;
  expect(file.text).toBe('three');
});

test('a file that is gone or empty for a while changes nothing, and is said once', () => {
  const file = open();
  writeFileSync(path, '');
  nowMs += 1_000;
  expect(file.text).toBe('one');
  rmSync(path);
  nowMs += 1_000;
  expect(file.text).toBe('one');
  expect(troubles).toHaveLength(1);
  writeFileSync(path, 'two');
  nowMs += 1_000;
  expect(file.text).toBe('two');
  rmSync(path);
  nowMs += 1_000;
  expect(file.text).toBe('two');
  expect(troubles).toHaveLength(2);
});

test('one that is not there to begin with is told', () => {
  expect(() => new WatchedFile(join(folder, 'absent'))).toThrow('ENOENT');
});
