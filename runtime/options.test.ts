import { expect, test } from 'vitest';
import { modelNameOf, OptionError, parseOptions, standbyArguments } from './options.ts';

const parse = (...argv: string[]) => parseOptions(argv, '/cache');

test('a runtime on its own needs a model and nothing else', () => {
  expect(parse('--model', './models/silero.onnx')).toMatchObject({
    mode: 'standalone',
    model: './models/silero.onnx',
    name: 'silero',
    port: 8080,
    host: '127.0.0.1',
    cacheDir: '/cache',
    adminPort: undefined,
  });
});

test('batches are asked for by their size, and wait for nobody unless told to', () => {
  expect(parse('--model', 'a.onnx')).toMatchObject({ batching: undefined });
  expect(parse('--model', 'a.onnx', '--max-batch-size', '8')).toMatchObject({
    batching: { maxBatchSize: 8, maxLatencyMs: 0 },
  });
  expect(parse('--model', 'a.onnx', '--max-batch-size=8', '--max-latency-ms=5')).toMatchObject({
    batching: { maxBatchSize: 8, maxLatencyMs: 5 },
  });
});

test('options are frozen', () => {
  expect(Object.isFrozen(parse('--model', 'a.onnx'))).toBe(true);
  expect(Object.isFrozen(parse('--standby', '--lifeline', '/l'))).toBe(true);
});

test.each([
  [['--model', 'a', '--port', '70000'], /--port: expected a whole number from 0 to 65535, got '70000'/],
  [['--model', 'a', '--port', '1e3'], /--port.*'1e3'/],
  [['--model', 'a', '--instances', '0'], /--instances: expected a whole number from 1 to 1024, got '0'/],
  [['--model', 'a', '--max-batch-size', '0'], /--max-batch-size: expected a whole number from 1 to 4096/],
  [['--model', 'a', '--max-latency-ms', '5'], /--max-latency-ms: expected --max-batch-size beside it/],
  [['--standby', '--cache-max-bytes', '-1'], /--cache-max-bytes/],
  [['--standby', '--model', 'a'], /exclude each other/],
  [[], /--model: expected a path or URI/],
  [['--modle', 'a'], /--modle/],
  [['stray', '--standby'], /stray/],
])('%j is refused with what was expected', (argv, message) => {
  expect(() => parse(...argv)).toThrow(OptionError);
  expect(() => parse(...argv)).toThrow(message);
});

test('the next incarnation starts with what this one has, real ports and highest epoch included', () => {
  const argv = '--standby --port 0 --admin-port 0 --cache-dir /c --cache-max-bytes 5 --record /r.json';
  const options = parse(
    ...argv.split(' '),
    '--lifeline',
    '/l',
    '--lifeline-grace-ms',
    '250',
    '--triton-metrics',
    '--drain-ms',
    '3500',
  );
  if (options.mode !== 'standby') throw new Error('expected a standby');
  const next = standbyArguments(options, {
    port: 4001,
    grpcPort: undefined,
    adminPort: 4002,
    highestEpoch: 7,
  });
  expect(parse(...next)).toEqual({ ...options, port: 4001, adminPort: 4002, highestEpoch: 7, recycles: 1 });
  expect(options).toMatchObject({ recycles: 0, drainMs: 3_500, tritonMetrics: true });
});

test.each([
  ['s3://bucket/models/rec/', 'rec'],
  ['https://host/a/b.onnx?versionId=3#sha256=00', 'b'],
  ['./silero_vad.ONNX', 'silero_vad'],
  ['/', 'model'],
])('the name of %s is %s', (uri, name) => {
  expect(modelNameOf(uri)).toBe(name);
});
