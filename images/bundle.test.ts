import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Bundle, bundleProgram } from './bundle.ts';
import { runtimeImage } from './programs.ts';

let runtime: Bundle;
let folder: string;

beforeAll(async () => {
  runtime = await bundleProgram(runtimeImage);
  folder = mkdtempSync(join(tmpdir(), 'pilotlight-bundle-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const text = (name: string): string => Buffer.from(runtime.files.get(name) ?? []).toString();

test('what the runtime finds beside its files is there: its workers and the model of the rehearsal', () => {
  expect([...runtime.files.keys()]).toEqual(
    expect.arrayContaining(['main.js', 'worker.js', 'json-worker.js', 'rehearsal.onnx']),
  );
  expect(text('instance.js')).toContain('./worker.js');
  expect(text('json-threads.js')).toContain('./json-worker.js');
});

test('the runtime starts with a small file: the rest is read when it is wanted', () => {
  expect(text('main.js').length).toBeLessThan(5_000);
  expect(text('main.js')).not.toMatch(/^import .* from "\.\//m);
  // The compiled code has to be switched on before its source runs.
  expect(text('main.js').indexOf('useCompiledCode("runtime")')).toBeLessThan(
    text('main.js').indexOf('ORT_DISABLE_TELEMETRY'),
  );
});

test('no import leads to a source, or to a package that is not in the image', () => {
  const specifiers = [...runtime.files].flatMap(([name, bytes]) =>
    name.endsWith('.js')
      ? [
          ...Buffer.from(bytes)
            .toString()
            .matchAll(/^(?:import|export) .*? ?from "([^"]+)";$/gm),
        ].map(([, path = '']) => path)
      : [],
  );
  expect(specifiers.length).toBeGreaterThan(50);
  const unknown = specifiers.filter(
    (path) => !path.startsWith('node:') && !(path.startsWith('./') && runtime.files.has(path.slice(2))),
  );
  expect(unknown).toEqual([]);
});

test('a source that looks for a file in an unknown way is refused, by name', async () => {
  const source = join(folder, 'planted.ts');
  writeFileSync(source, "export const place = new URL('./words.txt', import.meta.url);\n");
  await expect(bundleProgram({ ...runtimeImage, starts: { planted: source } })).rejects.toThrow(
    /planted\.ts asks for its place in a way that the bundle does not keep/,
  );
});
