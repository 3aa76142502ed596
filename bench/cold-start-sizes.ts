import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { promisify } from 'node:util';
import type { ColdStart } from '../contracts/cold-start.ts';
import type { TestPlatform } from '../e2e/local/testing/platform.ts';
import { waitFor } from '../e2e/local/testing/wait-for.ts';
import { chainOfSize } from '../e2e/models/onnx-models.ts';
import { writeOnnxFile } from '../e2e/models/onnx-writer.ts';
import { openModel } from '../runtime/storage/open-model.ts';
import { benchManifest, openPlatform, waitUntilQuiet } from './bench-platform.ts';
import { type Benchmark, type BenchmarkContext, rounds } from './benchmark.ts';
import { inferOnce } from './cold-start-client.ts';
import { type BinaryInput, binaryRequest } from './inference-request.ts';
import { plainStarts } from './plain-peer.ts';
import { serveRanges } from './range-server.ts';
import { type Row, row } from './report.ts';
import { chainInput, modelFolder } from './sized-model.ts';
import { median } from './statistics.ts';

const run = promisify(execFile);

interface SizeClass {
  label: string;
  sizeBytes: number;
  rounds: number;
  /** Goals in ms for a model that was seen before, and for one that is fetched first. */
  seenMs: number;
  unseenMs: number;
}

/** One of each size class of the paper of 2023. The weights are inside, as they come from exporters, up to the 2 GiB that fit. */
const CLASSES: readonly SizeClass[] = [
  { label: '64 MB', sizeBytes: 64e6, rounds: 5, seenMs: 60, unseenMs: 270 },
  { label: '400 MB', sizeBytes: 400e6, rounds: 5, seenMs: 85, unseenMs: 775 },
  { label: '700 MB', sizeBytes: 700e6, rounds: 3, seenMs: 120, unseenMs: 1_280 },
  { label: '1.5 GB', sizeBytes: 1.5e9, rounds: 3, seenMs: 190, unseenMs: 2_400 },
  { label: '2.2 GB', sizeBytes: 2.2e9, rounds: 3, seenMs: 260, unseenMs: 3_600 },
];

const INSIDE_UP_TO_BYTES = 2e9;

interface Measured {
  unseenMs: number[];
  seenMs: number[];
  coldPages: number;
  plainMs: number[];
  fetchMs: number[];
  curlMs: number[];
}

/**
 * Each round takes a model that the platform has never seen (another address of the same store), lets the service go to
 * zero by itself, and asks it again; then a plain process does the same from the same store, and `curl` and our fetch
 * bring the file, one after the other.
 */
async function measure(one: SizeClass, context: BenchmarkContext): Promise<Measured> {
  using folder = modelFolder();
  const { files, width } = writeSized(folder.path, one.sizeBytes);
  const input = chainInput(width);
  await using store = await serveRanges(files);
  const measured: Measured = { unseenMs: [], seenMs: [], coldPages: 0, plainMs: [], fetchMs: [], curlMs: [] };
  await using opened = await openPlatform({ standbys: 1 });
  const { platform } = opened;
  for (let round = 0; round < rounds(context, one.rounds); round += 1) {
    const service = `sized-${round}`;
    const manifest = benchManifest(service, '', { maxReplicas: 1 });
    platform.write(`${service}.yaml`, manifest.replace('file:', `${store.url}/${round}/model.onnx`));
    await platform.waitForService(service, 'is known', () => true).catch(() => undefined);
    await waitUntilQuiet(platform, 1);
    measured.unseenMs.push((await answered(platform, service, input, false)).totalMs);
    await waitFor(
      `${service} is at zero`,
      async () => (await platform.replicas(service)).length === 0,
      120_000,
    );
    await waitUntilQuiet(platform, 1);
    const seen = await answered(platform, service, input, true);
    measured.seenMs.push(seen.totalMs);
    if ((seen.record.coldBytes ?? 0) > 0) measured.coldPages += 1;
    platform.remove(`${service}.yaml`);
    measured.plainMs.push(...(await plainStarts(files, input, 1)));
    const times = await fetchTimes(store.url, basename(files.at(-1) ?? ''), one.sizeBytes);
    measured.curlMs.push(times.curlMs);
    measured.fetchMs.push(times.fetchMs);
  }
  return measured;
}

/** Its gigabytes are garbage afterwards: held, they would have this process collect garbage while it fetches. */
function writeSized(folder: string, sizeBytes: number): { files: string[]; width: number } {
  const model = chainOfSize(sizeBytes);
  const external = sizeBytes >= INSIDE_UP_TO_BYTES;
  const files = writeOnnxFile(join(folder, 'model.onnx'), model, { external });
  return { files, width: Number(model.inputs[0]?.shape?.[1]) };
}

async function answered(
  platform: TestPlatform,
  service: string,
  input: BinaryInput,
  cached: boolean,
): Promise<{ totalMs: number; record: ColdStart }> {
  const before = new Set((await platform.coldStarts()).map(({ replica }) => replica));
  const { totalMs, shape } = await inferOnce(platform.url, binaryRequest(service, input));
  if (shape.join() !== input.shape.join())
    throw new Error(`expected the shape ${input.shape.join()}, got ${shape.join()}`);
  const record = await waitFor('a record of the cold start', async () =>
    (await platform.coldStarts()).find(
      (start) => start.service === service && start.outcome === 'answered' && !before.has(start.replica),
    ),
  );
  if (record.cached !== cached)
    throw new Error(`expected a start with cached ${cached}: ${JSON.stringify(record)}`);
  return { totalMs, record };
}

/** The same bytes by four parallel ranges of curl and by ours, each into a fresh folder. */
async function fetchTimes(
  url: string,
  weights: string,
  sizeBytes: number,
): Promise<{ curlMs: number; fetchMs: number }> {
  const folder = mkdtempSync(join(tmpdir(), 'pilotlight-fetch-'));
  try {
    const curlStartedMs = performance.now();
    await Promise.all(
      [0, 1, 2, 3].map((part) => {
        const from = Math.floor((sizeBytes * part) / 4);
        const to = part === 3 ? '' : Math.floor((sizeBytes * (part + 1)) / 4) - 1;
        return run('curl', [
          '-s',
          '-r',
          `${from}-${to}`,
          '-o',
          join(folder, `${part}`),
          `${url}/curl/${weights}`,
        ]);
      }),
    );
    const curlMs = performance.now() - curlStartedMs;
    const fetched = await openModel({ uri: `${url}/fetch/model.onnx`, cacheDir: join(folder, 'cache') });
    await fetched.release();
    return { curlMs, fetchMs: fetched.fetchMs };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function runAll(context: BenchmarkContext): Promise<Row[]> {
  const rows: Row[] = [];
  for (const one of context.isQuick ? CLASSES.slice(0, 1) : CLASSES) {
    context.say(`${one.label}: ${rounds(context, one.rounds)} rounds`);
    const { unseenMs, seenMs, plainMs, fetchMs, curlMs, coldPages } = await measure(one, context);
    const plain = { peer: 'plain Node process: fetch, create, answer', peerValue: median(plainMs) };
    rows.push(
      row({
        metric: `${one.label}, seen before, p50`,
        unit: 'ms',
        value: median(seenMs),
        goal: `<= ${one.seenMs}`,
        values: seenMs,
        ...plain,
      }),
      row({
        metric: `${one.label}, never seen, p50`,
        unit: 'ms',
        value: median(unseenMs),
        goal: `<= ${one.unseenMs}`,
        values: unseenMs,
        ...plain,
      }),
      row({ metric: `${one.label}, starts with pages from the disk`, unit: 'starts', value: coldPages }),
      row({
        metric: `${one.label}, fetched and taken apart`,
        unit: 'MB/s',
        value: one.sizeBytes / 1e3 / median(fetchMs),
        values: fetchMs,
        peer: 'curl with 4 ranges from the same store',
        peerValue: one.sizeBytes / 1e3 / median(curlMs),
      }),
    );
  }
  return rows;
}

export const benchmark: Benchmark = {
  summary: 'cold starts by the size of the model, through activator and standby, seen before and never seen',
  run: runAll,
};
