import { execFile, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { writeOnnxFile } from '../models/onnx-writer.ts';
import { PYTHON, pythonEnvironment } from '../python-environment.ts';
import { type RuntimeProcess, startRuntime } from './testing/runtime-process.ts';

const HERE = join(import.meta.dirname, '../openapi');
const INSTALL_TIMEOUT_MS = 300_000;
const FUZZ_TIMEOUT_MS = 300_000;

/** With what environments are made with, which Debian packs by itself. */
const hasPython =
  spawnSync(PYTHON, ['-c', 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 10))']).status === 0;

let folder: string;
let runtime: RuntimeProcess;
let python: string;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'pilotlight-openapi-'));
  const path = join(folder, 'sum.onnx');
  const shape = ['batch', 'width'];
  writeOnnxFile(path, {
    inputs: ['a', 'b'].map((name) => ({ name, type: 'FLOAT', shape })),
    outputs: [{ name: 'sum', type: 'FLOAT', shape }],
    nodes: [{ op: 'Add', inputs: ['a', 'b'], outputs: ['sum'] }],
  });
  runtime = await startRuntime(path, join(folder, 'cache'), '--name', 'sum');
  if (!hasPython) return;
  python = await pythonEnvironment('openapi', join(HERE, 'requirements.txt'), () => undefined);
}, INSTALL_TIMEOUT_MS);
afterAll(async () => {
  await runtime.stop();
  rmSync(folder, { recursive: true, force: true });
});

test.skipIf(!hasPython)(
  'the server does what its OpenAPI document says, for requests that schemathesis makes up from it (needs Python >= 3.10 with venv)',
  async () => {
    const pytest = ['-m', 'pytest', '-p', 'no:cacheprovider', '--quiet', '--tb=short', HERE];
    const env = {
      ...process.env,
      PYTHONDONTWRITEBYTECODE: '1',
      PILOTLIGHT_BASE: `http://127.0.0.1:${runtime.port}`,
    };
    const ran = promisify(execFile)(python, pytest, { env, maxBuffer: 64 * 1024 ** 2 });
    const { stdout } = await ran.catch((error: unknown) => {
      const { stdout: said = '' } = error as { stdout?: string };
      throw new Error(`the document and the server differ:\n${said}`);
    });
    expect(stdout).toMatch(/^\d+ passed/m);
    expect(runtime.child.exitCode).toBeNull();
  },
  FUZZ_TIMEOUT_MS,
);
