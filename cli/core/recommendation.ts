import type { LoadMeasure } from '../../contracts/model-tools.ts';
import type { Configuration } from './profile-plan.ts';

export interface MeasuredConfiguration extends Configuration, LoadMeasure {}

export interface Recommendation {
  readonly threads: number;
  readonly instances: number;
  readonly cpus: number;
  readonly memoryBytes: number;
  /** Requests at once that a replica takes, and that the autoscaler aims at. */
  readonly concurrency: number;
  /** The smallest batch that is nearly as good as the best; 1 where batches gain too little. */
  readonly batch: number;
  readonly batchGain: number;
  /** How long a request may wait for others: as long as such a batch takes. */
  readonly batchLatencyMs: number;
  readonly p50Ms: number;
  readonly itemsPerSecond: number;
  readonly reasons: readonly string[];
}

/** A request must not become this much slower for more throughput of a replica: more replicas give that as well. */
const SLOWER_ALLOWED = 1.5;
/** A batch that gains less than this is not worth its wait. */
const BATCH_GAIN = 1.2;
/** Of the best throughput; larger batches only wait longer. */
const NEARLY = 0.9;
/** For requests and answers under way, and what a process grows by. */
const MEMORY_MARGIN = 1.25;
const BODIES_BYTES = 32 * 1024 ** 2;
const STEP_BYTES = 32 * 1024 ** 2;

/**
 * What to run a model with: of the ways that answer one request nearly as fast as the fastest the one with the most
 * throughput for each CPU; a tie goes to fewer CPUs, since replicas then scale in smaller steps.
 *
 * @param measured at least one, each with a row for batch 1.
 */
export function recommend(measured: readonly MeasuredConfiguration[]): Recommendation {
  const single = measured.map((one) => ({ one, row: one.rows.find(({ batch }) => batch === 1) }));
  const known = single.flatMap(({ one, row }) => (row === undefined ? [] : [{ one, row }]));
  const fastestMs = Math.min(...known.map(({ row }) => row.p50Ms));
  const [best] = known
    .filter(({ row }) => row.p50Ms <= fastestMs * SLOWER_ALLOWED)
    .map(({ one, row }) => ({ one, row, cpus: one.threads * one.instances }))
    .sort((left, right) => perCpu(right) - perCpu(left) || left.cpus - right.cpus);
  if (best === undefined) throw new Error('nothing was measured');
  const { one, row, cpus } = best;
  const batched = bestBatch(one, row.itemsPerSecond);
  const ownBytes = one.anonymousBytes + BODIES_BYTES;
  const memoryBytes = Math.ceil((ownBytes * MEMORY_MARGIN + one.mappedBytes) / STEP_BYTES) * STEP_BYTES;
  return {
    threads: one.threads,
    instances: one.instances,
    cpus,
    memoryBytes,
    // Each instance has a batch under way; what more comes is for another replica.
    concurrency: one.instances * batched.batch,
    ...batched,
    p50Ms: row.p50Ms,
    itemsPerSecond: row.itemsPerSecond,
    reasons: [
      `${one.threads} thread(s) × ${one.instances} instance(s) give the most for each CPU of what answers within ${SLOWER_ALLOWED} × the fastest (${fastestMs.toFixed(2)} ms)`,
      batched.batch === 1
        ? `batches gain ${batched.batchGain.toFixed(2)} × at best: not worth the wait`
        : `batches of ${batched.batch} give ${batched.batchGain.toFixed(1)} × the throughput`,
    ],
  };
}

const perCpu = ({ row, cpus }: { row: LoadMeasure['rows'][number]; cpus: number }): number =>
  // Two digits: what differs by less is noise.
  Number((row.itemsPerSecond / cpus).toPrecision(2));

function bestBatch(
  { rows }: LoadMeasure,
  single: number,
): Pick<Recommendation, 'batch' | 'batchGain' | 'batchLatencyMs'> {
  const most = Math.max(...rows.map(({ itemsPerSecond }) => itemsPerSecond));
  const nearly = rows.find(({ itemsPerSecond }) => itemsPerSecond >= most * NEARLY);
  if (nearly === undefined || nearly.batch === 1 || most / single < BATCH_GAIN) {
    return { batch: 1, batchGain: most / single, batchLatencyMs: 0 };
  }
  return { batch: nearly.batch, batchGain: nearly.itemsPerSecond / single, batchLatencyMs: nearly.p50Ms };
}

/** The recommendation as a manifest that `pilotlight validate` takes. */
export function manifestOf(
  { name, storageUri }: { name: string; storageUri: string },
  { cpus, memoryBytes, concurrency, threads, instances, batch }: Recommendation,
): string {
  const memory = `${Math.round(memoryBytes / 1024 ** 2)}Mi`;
  return [
    'apiVersion: serving.pilotlight.dev/v1alpha1',
    'kind: InferenceService',
    'metadata:',
    `  name: ${name}`,
    'spec:',
    '  predictor:',
    `    containerConcurrency: ${concurrency}`,
    '    scaleMetric: concurrency',
    `    scaleTarget: ${concurrency}`,
    // Nobody waits for a batch to fill: what waits while an instance is busy is the next one.
    ...(batch === 1 ? [] : ['    batcher:', `      maxBatchSize: ${batch}`]),
    '    model:',
    '      modelFormat:',
    '        name: onnx',
    `      storageUri: ${JSON.stringify(storageUri)}`,
    `      args: [--instances=${instances}, --threads-per-instance=${threads}]`,
    '      resources:',
    `        requests: {cpu: "${cpus}", memory: ${memory}}`,
    `        limits: {cpu: "${cpus}", memory: ${memory}}`,
    '',
  ].join('\n');
}

/** A name that a service can have: `resnet50.onnx` → `resnet50`, `My Model_v2` → `my-model-v2`. */
export function serviceName(uri: string): string {
  const path = uri.replace(/[?#].*$/, '').replace(/\/+$/, '');
  const last = path.slice(path.lastIndexOf('/') + 1).replace(/\.onnx$/i, '');
  const plain = last
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .slice(0, 45)
    .replace(/^[^a-z]+|-+$/g, '');
  return plain === '' ? 'model' : plain;
}
