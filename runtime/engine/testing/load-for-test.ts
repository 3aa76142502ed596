import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { PilotlightError } from '../../../contracts/errors.ts';
import type { OnnxModel } from '../../../e2e/models/onnx-writer.ts';
import { writeOnnxFile } from '../../../e2e/models/onnx-writer.ts';
import type { Tensor } from '../../core/tensor.ts';
import type { InferenceCall } from '../../ports.ts';
import { type LoadModelOptions, loadModel, type ModelHandle, modelClosed } from '../load-model.ts';
import { WorkerReserve } from '../worker-reserve.ts';

/** What the engine told about a model, in order. */
export interface Told {
  line: string;
  error?: PilotlightError;
}

/** A folder for model files, and everything that was loaded from it, to be closed after a test. */
export class EngineBench {
  readonly folder = mkdtempSync(join(tmpdir(), 'pilotlight-engine-'));
  readonly told: Told[] = [];
  readonly #models: ModelHandle[] = [];

  write(name: string, model: OnnxModel, external = false): string[] {
    return writeOnnxFile(join(this.folder, name), model, { external });
  }

  async load(files: readonly string[], options: Partial<LoadModelOptions> = {}): Promise<ModelHandle> {
    const [modelPath = ''] = files;
    const tell = (line: string) => (detail?: unknown) => {
      this.told.push(detail instanceof Error ? { line, error: detail as PilotlightError } : { line });
    };
    const model = await loadModel({
      name: 'm',
      versions: ['1'],
      modelPath,
      files,
      sizeBytes: files.reduce((sum, file) => sum + (statSync(file, { throwIfNoEntry: false })?.size ?? 0), 0),
      threadsPerInstance: 1,
      instances: 1,
      instancesWanted: true,
      warmUp: false,
      batching: { maxBatchSize: 1, maxLatencyMs: 0 },
      limits: { cpus: 2, memoryBytes: 8e9 },
      reserve: new WorkerReserve(),
      signal: new AbortController().signal,
      observer: {
        created: tell('created'),
        warmed: tell('warmed'),
        warmUpSkipped: tell('warm-up skipped'),
        trouble: tell('trouble'),
        broken: tell('broken'),
        ran: tell('inference'),
        batchFailed: tell('batch failed'),
        settled: tell('settled'),
        batchesTried: ({ kind }) => tell(`batches: ${kind}`)(),
        notAccelerated: tell('not accelerated'),
      },
      ...options,
    });
    this.#models.push(model);
    return model;
  }

  async close(): Promise<void> {
    await Promise.all(this.#models.map((model) => model.close(modelClosed())));
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** A call with plenty of time and a client that stays. */
export function callWith(inputs: readonly Tensor[], options: Partial<InferenceCall> = {}): InferenceCall {
  return {
    inputs,
    deadlineMs: performance.now() + 30_000,
    signal: new AbortController().signal,
    ...options,
  };
}

export function floats(name: string, shape: readonly number[], value = 1): Tensor {
  const count = shape.reduce((product, size) => product * size, 1);
  return { name, datatype: 'FP32', shape, data: new Float32Array(count).fill(value) };
}

/** FP32 values of the output `name`, or of the first output. */
export function floatsOf(outputs: readonly Tensor[], name?: string): Float32Array {
  const found = name === undefined ? outputs[0] : outputs.find((output) => output.name === name);
  if (!(found?.data instanceof Float32Array)) throw new Error(`expected FP32 output ${name ?? ''}`);
  return found.data;
}
