import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { startRuntime } from '../e2e/local/testing/runtime-process.ts';
import { perceptron } from '../e2e/models/onnx-models.ts';
import { type Benchmark, type BenchmarkContext, rounds } from './benchmark.ts';
import { inferOnce } from './cold-start-client.ts';
import { type BinaryRequest, binaryRequest, onTheWire } from './inference-request.ts';
import { LoadGenerator, mustSucceed } from './load/load-generator.ts';
import type { LoadOutcome } from './load/messages.ts';
import { startPythonServer } from './python/python-server.ts';
import { type Row, row } from './report.ts';
import { modelFolder, writeModel } from './sized-model.ts';
import { median, quantile } from './statistics.ts';

const NAME = 'network';
const WIDTHS = [32, 64, 64, 10];
const CONNECTIONS = [16, 64];
const PYTHON_SERVERS = ['fastapi', 'mlserver', 'kserve'] as const;
const ROUNDS = 10;
const ROUND_MS = 3_000;
const MAX_BATCH_SIZE = 64;
/** Both sides sum in 32 bits, but in another order where the batch is another. */
const TOLERANCE = 1e-5;
const TIMES_AS_MANY = 2;

/** One way to ask one server. */
interface Contender {
  readonly name: string;
  readonly port: number;
  readonly request: BinaryRequest;
}

interface Measured {
  readonly perSecond: number[];
  readonly p99Ms: number[];
}

const input = Float32Array.from({ length: WIDTHS[0] ?? 0 }, (_, index) => Math.sin(index));
const binary = binaryRequest(NAME, {
  name: 'x',
  datatype: 'FP32',
  shape: [1, input.length],
  data: new Uint8Array(input.buffer),
});

/** The same bytes for each server; only the path is its own. */
function jsonRequest(path = binary.path): BinaryRequest {
  const inputs = [{ name: 'x', datatype: 'FP32', shape: [1, input.length], data: Array.from(input) }];
  return {
    path,
    headers: { 'content-type': 'application/json' },
    body: Buffer.from(JSON.stringify({ inputs })),
  };
}

/** What a contender answers. @throws Error unless it is an answer of the protocol with one output. */
async function answerOf({ port, request, name }: Contender): Promise<readonly number[]> {
  const url = `http://127.0.0.1:${port}`;
  if (request === binary) return Array.from((await inferOnce(url, request)).values);
  const response = await fetch(url + request.path, { method: 'POST', ...request });
  const text = await response.text();
  if (response.status !== 200) throw new Error(`${name} answered ${response.status}: ${text}`);
  const { outputs } = JSON.parse(text) as { outputs: { data: number[] }[] };
  return outputs[0]?.data ?? [];
}

/** @throws Error when the contenders don't agree on the answer: then they aren't doing the same work. */
async function mustAgree(contenders: readonly Contender[]): Promise<void> {
  const [ours] = contenders;
  if (ours === undefined) return;
  const expected = await answerOf(ours);
  if (expected.length !== WIDTHS.at(-1)) throw new Error(`${ours.name} answered ${expected.length} numbers`);
  for (const contender of contenders.slice(1)) {
    const answer = await answerOf(contender);
    const isSame =
      answer.length === expected.length &&
      answer.every((value, index) => Math.abs(value - (expected[index] ?? Number.NaN)) <= TOLERANCE);
    if (isSame) continue;
    throw new Error(
      `${contender.name} answered ${JSON.stringify(answer)}, ${ours.name} ${JSON.stringify(expected)}`,
    );
  }
}

/** Rounds of all contenders in turns; each pass begins with the next one, so that what drifts hits all alike. */
async function measure(
  load: LoadGenerator,
  contenders: readonly Contender[],
  connections: number,
  context: BenchmarkContext,
): Promise<Map<string, Measured>> {
  const measured = new Map(
    contenders.map(({ name }): [string, Measured] => [name, { perSecond: [], p99Ms: [] }]),
  );
  const runFor = async (durationMs: number, { port, request }: Contender): Promise<LoadOutcome> => {
    const target = { host: '127.0.0.1', port, request: onTheWire(`127.0.0.1:${port}`, request) };
    return mustSucceed(await load.runFor(durationMs, target, { connections }));
  };
  const roundMs = context.isQuick ? ROUND_MS / 10 : ROUND_MS;
  for (const contender of contenders) await runFor(roundMs, contender);
  for (let pass = 0; pass < rounds(context, ROUNDS); pass++) {
    const first = pass % contenders.length;
    for (const contender of [...contenders.slice(first), ...contenders.slice(0, first)]) {
      const { succeeded, durationMs, latenciesMs } = await runFor(roundMs, contender);
      measured.get(contender.name)?.perSecond.push((succeeded / durationMs) * 1000);
      measured.get(contender.name)?.p99Ms.push(quantile(latenciesMs, 0.99));
    }
  }
  return measured;
}

/** Requests/s and p99 of ours against a peer, by the medians of their rounds. */
function compared(what: string, ours: Measured, peer: string, theirs: Measured): Row[] {
  const perSecond = median(theirs.perSecond);
  const p99Ms = median(theirs.p99Ms);
  return [
    row({
      metric: what,
      unit: 'requests/s',
      value: median(ours.perSecond),
      peer,
      peerValue: perSecond,
      goal: `>= ${(perSecond * TIMES_AS_MANY).toFixed(1)}`,
      values: ours.perSecond,
    }),
    row({
      metric: `${what}, p99`,
      unit: 'ms',
      value: median(ours.p99Ms),
      peer,
      peerValue: p99Ms,
      goal: `<= ${p99Ms.toFixed(3)}`,
      values: ours.p99Ms,
    }),
  ];
}

/** The version of ONNX Runtime that all run. @throws Error when one of the Python servers pins another. */
function engineVersion(): string {
  const main = createRequire(import.meta.url).resolve('onnxruntime-node/package.json');
  const { version } = JSON.parse(readFileSync(main, 'utf8')) as { version: string };
  for (const kind of PYTHON_SERVERS) {
    const pins = readFileSync(join(import.meta.dirname, 'python', kind, 'requirements.txt'), 'utf8');
    if (!pins.includes(`\nonnxruntime==${version} `))
      throw new Error(`expected bench/python/${kind} to pin onnxruntime ${version}, which ours runs`);
  }
  return version;
}

async function run(context: BenchmarkContext): Promise<Row[]> {
  using folder = modelFolder();
  const model = writeModel(folder.path, NAME, perceptron(WIDTHS));
  await using started = new AsyncDisposableStack();
  const runtime = async (name: string, ...more: string[]): Promise<number> => {
    const process = await startRuntime(model, join(folder.path, name), '--name', NAME, ...more);
    started.defer(async () => void (await process.stop()));
    return process.port;
  };
  const python = async (kind: Parameters<typeof startPythonServer>[0]): Promise<number> => {
    context.say(`starting ${kind}`);
    const at = join(folder.path, kind);
    return started.use(await startPythonServer(kind, model, at, context.say)).port;
  };
  const plain = await runtime('plain');
  const batching = await runtime('batching', '--max-batch-size', String(MAX_BATCH_SIZE));
  const [fastapi, mlserver, kserve] = [
    await python('fastapi'),
    await python('mlserver'),
    await python('kserve'),
  ];
  const ours = [
    { name: 'as it comes', port: plain, request: jsonRequest() },
    { name: `batches of up to ${MAX_BATCH_SIZE}`, port: batching, request: jsonRequest() },
  ];
  const peers = [
    { name: 'FastAPI, def', port: fastapi, request: jsonRequest('/def/infer') },
    { name: 'FastAPI, async def', port: fastapi, request: jsonRequest('/async/infer') },
    { name: 'MLServer', port: mlserver, request: jsonRequest() },
    { name: 'kserve', port: kserve, request: jsonRequest() },
  ];
  const ourBinary = ours.map(({ name, port }) => ({ name: `${name}, binary`, port, request: binary }));
  const peersBinary = [{ name: 'kserve, binary', port: kserve, request: binary }];
  const contenders = [...ours, ...peers, ...ourBinary, ...peersBinary];
  await mustAgree(contenders);
  context.note(
    `All servers run ONNX Runtime ${engineVersion()} and share ${availableParallelism()} cores with the load generator; the Python servers have a worker with one thread for each core. The answers of all were compared before.`,
  );

  await using load = await LoadGenerator.open();
  const rows: Row[] = [];
  for (const connections of CONNECTIONS) {
    context.say(`${connections} connections`);
    const measured = await measure(load, contenders, connections, context);
    const rowsOf = (from: readonly Contender[], against: readonly Contender[], form: string): Row[] =>
      from.flatMap(({ name }) =>
        against.flatMap((peer) => {
          const [mine, theirs] = [measured.get(name), measured.get(peer.name)];
          if (mine === undefined || theirs === undefined) throw new Error(`${name} was not measured`);
          return compared(`${form}, ${connections} connections, ${name}`, mine, peer.name, theirs);
        }),
      );
    rows.push(...rowsOf(ours, peers, 'JSON'), ...rowsOf(ourBinary, peersBinary, 'binary'));
  }
  return rows;
}

export const benchmark: Benchmark = {
  summary: 'a warm runtime beside FastAPI, MLServer and the kserve server, a small model',
  run,
};
