import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { encodeOnnx, type OnnxModel, writeOnnxFile } from '../../models/onnx-writer.ts';

/** Products of two n×n matrices: 5 of them at n = 1,000 are 10 GFLOP. */
const PRODUCTS = 5;

/**
 * A model whose answer says which one it is: input `x` of FP32 `[n, 1]`, output `y` = `mark` where `x` is all
 * zeros. It has no weights, and a run takes time as n³: less than a millisecond at 1, some tenths of a second
 * at 1,000, so that the request and not the model says how long it is in flight.
 */
function markedModel(mark: number): OnnxModel {
  const data = Buffer.alloc(4);
  data.writeFloatLE(mark);
  const steps = Array.from({ length: PRODUCTS }, (_, step) => ({
    op: 'MatMul',
    inputs: [`p${step}`, 'p0'],
    outputs: [`p${step + 1}`],
  }));
  return {
    inputs: [{ name: 'x', type: 'FLOAT', shape: ['n', 1] }],
    outputs: [{ name: 'y', type: 'FLOAT', shape: [1] }],
    initializers: [{ name: 'mark', type: 'FLOAT', dims: [1], data }],
    nodes: [
      { op: 'Transpose', inputs: ['x'], outputs: ['row'], attributes: { perm: [1, 0] } },
      { op: 'MatMul', inputs: ['x', 'row'], outputs: ['p0'] },
      ...steps,
      { op: 'ReduceMax', inputs: [`p${PRODUCTS}`], outputs: ['most'], attributes: { keepdims: 0 } },
      { op: 'Add', inputs: ['most', 'mark'], outputs: ['y'] },
    ],
  };
}

export const markedModelBytes = (mark: number): Buffer => encodeOnnx(markedModel(mark));

/** An inference request for a marked model, as an object of the Open Inference Protocol. */
export function zeros(n = 1): unknown {
  return {
    inputs: [{ name: 'x', shape: [n, 1], datatype: 'FP32', data: Array.from({ length: n }, () => 0) }],
  };
}

/** A request that is in flight for a while, whatever the machine: half a second on two idle cores. */
export const LONG_REQUEST = zeros(2_300);

/** The mark in an answer. @throws Error when it is none. */
export function markIn(text: string): number {
  const body = JSON.parse(text) as { outputs?: { data?: number[] }[] };
  const mark = body.outputs?.[0]?.data?.[0];
  if (mark === undefined) throw new Error(`no answer of a marked model: ${text.slice(0, 300)}`);
  return mark;
}

/** A folder of marked models for one test file. */
export class ModelFolder {
  readonly path = mkdtempSync(join(tmpdir(), 'pilotlight-models-'));

  /** Writes a marked model and returns its path. */
  write(mark: number, name = `marked-${mark}.onnx`): string {
    const path = join(this.path, name);
    writeOnnxFile(path, markedModel(mark));
    return path;
  }

  remove(): void {
    rmSync(this.path, { recursive: true, force: true });
  }
}
