import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { VERSION } from './version.ts';

const read = (path: string): string => readFileSync(join(import.meta.dirname, '..', path), 'utf8');

test('programs, package and chart say the same version', () => {
  expect((JSON.parse(read('package.json')) as { version: string }).version).toBe(VERSION);
  expect(/^appVersion: "?([^"\n]+)"?$/m.exec(read('charts/pilotlight/Chart.yaml'))?.[1]).toBe(VERSION);
});
