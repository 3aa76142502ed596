import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { manifestOf, TestPlatform } from '../local/testing/platform.ts';
import { type RuntimeProcess, startRuntime } from '../local/testing/runtime-process.ts';
import { type OnnxModel, type OnnxType, writeOnnxFile } from '../models/onnx-writer.ts';
import { pythonEnvironment } from '../python-environment.ts';

/**
 * Runs clients of the protocol that others wrote, unmodified from PyPI, against runtimes and against a platform with
 * an activator in front. Ends with one line, `N passed, N failed`.
 *
 * `[ONLY=runtime|platform] node e2e/interop/run.ts [arguments for pytest]`
 */

const HERE = import.meta.dirname;
const REQUIREMENTS = join(HERE, 'requirements.txt');

const ONLY = process.env['ONLY'];

const print = (line: string): void => {
  process.stdout.write(`${line}\n`);
};

const TYPES: readonly (readonly [datatype: string, type: OnnxType])[] = [
  ['BOOL', 'BOOL'],
  ['UINT8', 'UINT8'],
  ['UINT16', 'UINT16'],
  ['UINT32', 'UINT32'],
  ['UINT64', 'UINT64'],
  ['INT8', 'INT8'],
  ['INT16', 'INT16'],
  ['INT32', 'INT32'],
  ['INT64', 'INT64'],
  ['FP32', 'FLOAT'],
  ['FP64', 'DOUBLE'],
  ['BYTES', 'STRING'],
];

/** Every input handed on as an output. */
function identities(types: typeof TYPES): OnnxModel {
  return {
    inputs: types.map(([name, type]) => ({ name: `in_${name}`, type, shape: ['n'] })),
    outputs: types.map(([name, type]) => ({ name: `out_${name}`, type, shape: ['n'] })),
    nodes: types.map(([name]) => ({ op: 'Identity', inputs: [`in_${name}`], outputs: [`out_${name}`] })),
  };
}

const SHAPE = ['batch', 'width'];

const MODELS: Readonly<Record<string, OnnxModel>> = {
  all: identities(TYPES),
  half: identities([['FP16', 'FLOAT16']]),
  sum: {
    inputs: ['a', 'b'].map((name) => ({ name, type: 'FLOAT', shape: SHAPE })),
    outputs: [{ name: 'sum', type: 'FLOAT', shape: SHAPE }],
    nodes: [{ op: 'Add', inputs: ['a', 'b'], outputs: ['sum'] }],
  },
};

/** Where one model is found, as the tests read it. */
interface Target {
  http: string;
  grpc: string;
  /** What the client must send as `:authority`, where one address leads to several services. */
  authority: string | null;
}

interface Counts {
  passed: number;
  failed: number;
  skipped: number;
}

/** Each file in a process of its own: two of the clients bring the same messages, which one process can't load twice. */
async function runFile(
  python: string,
  file: string,
  report: string,
  targets: string,
  args: readonly string[],
): Promise<Counts> {
  print(file);
  const pytest = ['-m', 'pytest', '-p', 'no:cacheprovider', '--quiet', '--tb=short', `--junitxml=${report}`];
  const child = spawn(python, [...pytest, join(HERE, file), ...args], {
    stdio: 'inherit',
    env: { ...process.env, PYTHONDONTWRITEBYTECODE: '1', PILOTLIGHT_INTEROP: targets },
  });
  await once(child, 'exit');
  return countsOf(report);
}

async function runTests(python: string, folder: string, args: readonly string[]): Promise<Counts> {
  const runtimes: Record<string, RuntimeProcess> = {};
  let platform: TestPlatform | undefined;
  try {
    const manifests: Record<string, string> = {};
    const direct: Record<string, Target> = {};
    for (const [name, model] of Object.entries(MODELS)) {
      const path = join(folder, `${name}.onnx`);
      writeOnnxFile(path, model);
      manifests[`${name}.json`] = manifestOf(name, path, { scaling: { initialScale: 0 }, maxReplicas: 1 });
      const runtime = await startRuntime(path, join(folder, 'cache'), '--name', name);
      runtimes[name] = runtime;
      const at = (port: number): string => `127.0.0.1:${port}`;
      direct[name] = { http: at(runtime.port), grpc: at(runtime.grpcPort), authority: null };
    }
    platform = ONLY === 'runtime' ? undefined : await TestPlatform.start({ manifests });
    const host = platform === undefined ? '' : new URL(platform.url).host;
    const proxied = Object.fromEntries(
      Object.keys(MODELS).map((name): [string, Target] => [
        name,
        { http: `${host}/default/${name}`, grpc: host, authority: `${name}.default` },
      ]),
    );
    const targets = JSON.stringify({
      ...(ONLY === 'platform' ? {} : { runtime: direct }),
      ...(ONLY === 'runtime' ? {} : { platform: proxied }),
    });
    const sum = { passed: 0, failed: 0, skipped: 0 };
    for (const file of readdirSync(HERE).filter((name) => /^test_.*\.py$/.test(name))) {
      const counts = await runFile(python, file, join(folder, `${file}.xml`), targets, args);
      for (const key of ['passed', 'failed', 'skipped'] as const) sum[key] += counts[key];
    }
    const [runtimesAlive, platformAlive] = [
      Object.values(runtimes).every(({ child: { exitCode } }) => exitCode === null),
      (platform?.process.exitCode ?? null) === null,
    ];
    if (!runtimesAlive) print('a runtime ended by itself');
    if (!platformAlive) print('the platform ended by itself');
    sum.failed += Number(!runtimesAlive) + Number(!platformAlive);
    return sum;
  } finally {
    await Promise.all([...Object.values(runtimes).map((runtime) => runtime.stop()), platform?.stop()]);
  }
}

/** Totals of a JUnit report; one failure when the tests gave none. */
function countsOf(report: string): Counts {
  if (!existsSync(report)) return { passed: 0, failed: 1, skipped: 0 };
  const head = /<testsuite [^>]*>/.exec(readFileSync(report, 'utf8'))?.[0] ?? '';
  const count = (name: string): number =>
    Number(new RegExp(`\\b${name}="(\\d+)"`).exec(head)?.[1] ?? Number.NaN);
  const [failed, skipped] = [count('failures') + count('errors'), count('skipped')];
  return { passed: count('tests') - failed - skipped, failed, skipped };
}

const folder = mkdtempSync(join(tmpdir(), 'pilotlight-interop-'));
try {
  const { passed, failed, skipped } = await runTests(
    await pythonEnvironment('interop', REQUIREMENTS, print),
    folder,
    process.argv.slice(2),
  );
  print(`${passed} passed, ${failed} failed${skipped === 0 ? '' : `, ${skipped} skipped`}`);
  process.exitCode = failed === 0 && passed > 0 ? 0 : 1;
} finally {
  rmSync(folder, { recursive: true, force: true });
}
