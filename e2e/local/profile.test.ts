import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { chainOfSize } from '../models/onnx-models.ts';
import { writeOnnxFile } from '../models/onnx-writer.ts';
import { pilotlight } from './testing/command.ts';

let folder: string;
let model: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'pilotlight-profiled-'));
  model = writeOnnxFile(join(folder, 'chain.onnx'), chainOfSize(12e6), { external: false })[0] ?? '';
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

interface Profiled {
  takesBatches: boolean;
  starts: { name: string; measures: { totalMs: number; kind: string }[] }[];
  measured: {
    threads: number;
    instances: number;
    anonymousBytes: number;
    rows: { batch: number; itemsPerSecond: number }[];
  }[];
  manifest: string;
}

test('a profile has every class of start and every batch, its manifest is valid, and it leaves nothing behind', async () => {
  const cacheDir = join(folder, 'scratch');
  const picture = join(folder, 'profile.svg');
  const args = ['profile', model, '--seconds', '2', '--json', '--svg', picture, '--cache-dir', cacheDir];
  const { code, out, err } = await pilotlight(args);
  expect(code, err).toBe(0);
  const profiled = JSON.parse(out) as Profiled;
  expect(profiled.takesBatches).toBe(true);
  expect(profiled.starts.map(({ name }) => name).slice(0, 3)).toEqual([
    'nothing cached',
    'model cached',
    'compiled',
  ]);
  expect(profiled.starts[1]?.measures[0]?.kind).toBe('external');
  expect(profiled.starts[2]?.measures[0]?.kind).toBe('optimised');
  for (const { rows, anonymousBytes } of profiled.measured) {
    expect(rows.map(({ batch }) => batch)).toEqual([1, 2, 4, 8, 16, 32, 64]);
    expect(Math.min(anonymousBytes, ...rows.map(({ itemsPerSecond }) => itemsPerSecond))).toBeGreaterThan(0);
  }
  const manifest = join(folder, 'service.yaml');
  writeFileSync(manifest, profiled.manifest);
  const valid = await pilotlight(['validate', manifest]);
  expect(valid.code, valid.out).toBe(0);
  expect(valid.out).toBe('');
  expect(readFileSync(picture, 'utf8')).toMatch(/^<svg [\s\S]*<\/svg>\n$/);
  expect(readdirSync(cacheDir)).toEqual([]);
});

test('a person gets bars and the manifest, without codes in a pipe; a model that isn’t there is said in words', async () => {
  const { code, out } = await pilotlight(['profile', model, '--seconds', '1']);
  expect(code).toBe(0);
  expect(out).toMatch(/^compiled .*█/m);
  expect(out).toMatch(/^ {2}batch 64 .*█/m);
  expect(out).toContain('kind: InferenceService');
  expect(out).not.toContain('\u001B');
  expect(await pilotlight(['profile', join(folder, 'nowhere.onnx')])).toMatchObject({
    code: 1,
    err: expect.stringContaining('does not exist'),
  });
  expect(await pilotlight(['profile', model, '--seconds', '0'])).toMatchObject({ code: 2 });
});
