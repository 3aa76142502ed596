import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { matMulChain } from '../e2e/models/onnx-models.ts';
import { type OnnxModel, writeOnnxFile } from '../e2e/models/onnx-writer.ts';
import type { BinaryInput } from './inference-request.ts';
import { median } from './statistics.ts';

/** 1 MB of weights a layer, about 50 µs on one thread; 2 KB of input. */
const WIDTH = 512;
const RUNS = 200;
const TRIES = 6;
const TOLERANCE = 0.1;

/** A folder of its own, for models that a benchmark makes; it goes with the scope. */
export function modelFolder(): { path: string } & Disposable {
  const path = mkdtempSync(join(tmpdir(), 'pilotlight-models-'));
  return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true }) };
}

/** Writes a model into `folder`. @returns its path. */
export function writeModel(folder: string, name: string, model: OnnxModel): string {
  const path = join(folder, `${name}.onnx`);
  writeOnnxFile(path, model);
  return path;
}

/** The input of `matMulChain` models of the given width, batch 1. */
export function chainInput(width: number = WIDTH): BinaryInput {
  const data = new Uint8Array(new Float32Array(width).fill(0.5).buffer);
  return { name: 'x', datatype: 'FP32', shape: [1, width], data };
}

/**
 * A model of which one inference takes about `targetMs` on this machine, with as many threads as the runtime
 * uses: the number of layers is changed until the median of some runs is within a tenth.
 */
export async function modelOfDuration(
  folder: string,
  targetMs: number,
): Promise<{ path: string; runMs: number; input: BinaryInput }> {
  let layers = 16;
  let runMs = Number.NaN;
  let path = '';
  for (let attempt = 0; attempt < TRIES; attempt++) {
    path = writeModel(folder, 'sized', matMulChain({ layers, width: WIDTH }));
    runMs = await medianRunMs(path);
    if (Math.abs(runMs / targetMs - 1) < TOLERANCE) break;
    layers = Math.max(1, Math.round((layers * targetMs) / runMs));
  }
  return { path, runMs, input: chainInput() };
}

async function medianRunMs(path: string): Promise<number> {
  // As the runtime has it on two cores: see runtime/engine/session-options.ts.
  const session = await InferenceSession.create(path, {
    intraOpNumThreads: 2,
    interOpNumThreads: 1,
    extra: { session: { intra_op: { allow_spinning: '0' } } },
  });
  const feeds = { x: new Tensor('float32', new Float32Array(WIDTH).fill(0.5), [1, WIDTH]) };
  const times: number[] = [];
  for (let run = 0; run < RUNS; run++) {
    const startedMs = performance.now();
    await session.run(feeds);
    times.push(performance.now() - startedMs);
  }
  await session.release();
  return median(times.slice(RUNS / 4));
}
