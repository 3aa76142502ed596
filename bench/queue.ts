import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { waitFor } from '../e2e/local/testing/wait-for.ts';
import type { OnnxModel } from '../e2e/models/onnx-writer.ts';
import { benchManifest, memoryOf, openPlatform } from './bench-platform.ts';
import { type Benchmark, type BenchmarkContext, rounds } from './benchmark.ts';
import { binaryRequest, onTheWire } from './inference-request.ts';
import { LoadGenerator } from './load/load-generator.ts';
import { type Row, row } from './report.ts';
import { modelFolder, writeModel } from './sized-model.ts';
import { largest } from './statistics.ts';

const SERVICE = 'queue';
const REQUESTS = 2_000;
const BODY_BYTES = 1_000_000;
/** All of them wait for so long before the model comes, while what is to arrive arrives. */
const WAIT_MS = 5_000;
const MEGABYTE = 1e6;

/** Answers with the shape of its input: 16 bytes for a megabyte, computed in microseconds. */
const SHAPE_OF: OnnxModel = {
  inputs: [{ name: 'x', type: 'FLOAT', shape: ['batch', 'width'] }],
  outputs: [{ name: 'y', type: 'INT64', shape: [2] }],
  nodes: [{ op: 'Shape', inputs: ['x'], outputs: ['y'] }],
};

/** A store that keeps whoever asks for the model waiting until it is told to give it. */
async function slowStore(path: string): Promise<{ url: string; give: () => void } & AsyncDisposable> {
  let give = (): void => undefined;
  const given = new Promise<void>((resolve) => {
    give = resolve;
  });
  const model = readFileSync(path);
  const server = createServer((request, response) => {
    void given.then(() => {
      response.writeHead(200, { 'content-length': model.length });
      response.end(request.method === 'HEAD' ? undefined : model);
    });
  });
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/model.onnx`,
    give,
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

async function run(context: BenchmarkContext): Promise<Row[]> {
  const count = rounds(context, REQUESTS);
  using folder = modelFolder();
  await using store = await slowStore(writeModel(folder.path, SERVICE, SHAPE_OF));
  const manifest = benchManifest(SERVICE, '', {
    model: { modelFormat: { name: 'onnx' }, storageUri: store.url },
    maxReplicas: 1,
    // Twice of what comes, so that the bounds are not what is measured.
    scaling: { startTimeout: '5m', queue: { maxRequests: 2 * REQUESTS, maxBytes: '4Gi' } },
  });
  await using opened = await openPlatform({ manifests: { [`${SERVICE}.yaml`]: manifest } });
  const { platform } = opened;
  const { pid } = platform.program('activator');
  const idle = memoryOf(pid);
  const data = new Uint8Array(BODY_BYTES);
  const input = { name: 'x', datatype: 'FP32', shape: [1, BODY_BYTES / 4], data };
  const { hostname, port } = new URL(platform.url);
  const request = onTheWire(hostname, binaryRequest(SERVICE, input));

  await using load = await LoadGenerator.open();
  load.start({ host: hostname, port: Number(port), request }, { connections: count, limit: count });
  await platform.waitForService(SERVICE, 'holds all requests', ({ queued }) => queued === count, 60_000);
  context.say(`${count} requests wait`);
  await sleep(WAIT_MS);
  const { queued } = await platform.service(SERVICE);
  if (queued !== count) throw new Error(`expected ${count} waiting requests, found ${queued}`);
  const waiting = memoryOf(pid);
  const releasedMs = performance.now();
  store.give();
  const residents: number[] = [];
  const sampling = setInterval(() => residents.push(memoryOf(pid).residentBytes), 20);
  const outcome = await load.wait().finally(() => clearInterval(sampling));
  const drainedMs = performance.now() - releasedMs;
  // Nothing failed unseen: the platform's own count says zero as well.
  await waitFor('the queue is empty', async () => (await platform.service(SERVICE)).queued === 0);
  const failed = Object.entries(outcome.failed);
  for (const [what, times] of failed) context.say(`failed: ${times} × ${what}`);
  const megabytes = (sizeBytes: number): number => sizeBytes / MEGABYTE;
  return [
    row({ metric: 'requests that wait, 1 MB each', unit: 'requests', value: queued }),
    row({
      metric: 'activator resident while they wait',
      unit: 'MB',
      value: megabytes(waiting.residentBytes),
      peer: 'idle, before',
      peerValue: megabytes(idle.residentBytes),
      goal: '<= 250',
    }),
    row({
      metric: 'activator resident while they are answered, at most',
      unit: 'MB',
      value: megabytes(largest(residents)),
    }),
    row({
      metric: 'activator resident over its whole life, at most',
      unit: 'MB',
      value: megabytes(memoryOf(pid).peakBytes),
      goal: '<= 250',
    }),
    row({
      metric: 'requests not answered with 200',
      unit: 'requests',
      value: count - outcome.succeeded,
      goal: '= 0',
    }),
    row({ metric: 'from the model’s release to the last answer', unit: 'ms', value: drainedMs }),
  ];
}

export const benchmark: Benchmark = {
  summary: '2,000 requests with bodies of 1 MB wait for a cold service; memory of the activator',
  run,
};
