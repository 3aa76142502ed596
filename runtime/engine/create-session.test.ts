import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type * as OnnxRuntime from 'onnxruntime-node';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { TEXT_RECOGNISER } from '../../e2e/models/real-models.ts';
import { GRAPH } from '../storage/form-cache.ts';
import { createSession } from './create-session.ts';
import { anonymousBytes } from './memory-fit.ts';
import { compilePlan, quickPlan, type SessionPlan } from './session-options.ts';

const ort = createRequire(import.meta.url)('onnxruntime-node') as typeof OnnxRuntime;

let folder: string;
/** Of the recogniser, once it is optimised: 415 nodes, weights outside. */
let plan: SessionPlan;
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'pilotlight-session-'));
  const { session } = await createSession(ort, compilePlan(TEXT_RECOGNISER, folder, 'optimised'));
  await session.release();
  const source = { kind: 'optimised', graphPath: join(folder, GRAPH), isMapped: true } as const;
  plan = quickPlan(source, { threadsPerInstance: 1, sizeBytes: 10e6 });
});
afterEach(() => {
  vi.restoreAllMocks();
  rmSync(folder, { recursive: true, force: true });
});

async function outputOf(
  session: OnnxRuntime.InferenceSession,
  shape: readonly number[],
): Promise<Float32Array> {
  const values = Float32Array.from({ length: shape.reduce((size, one) => size * one, 1) }, (_, index) =>
    Math.sin(index),
  );
  const results = await session.run({ x: new ort.Tensor('float32', values, shape) });
  return Object.values(results)[0]?.data as Float32Array;
}

test('a session without shapes says of itself what one with shapes says, and answers the same to the bit', async () => {
  expect(plan.leavesShapesOut).toBe(true);
  const create = vi.spyOn(ort.InferenceSession, 'create');
  const without = await createSession(ort, plan);
  expect(create.mock.calls.at(-1)?.[0]).toBeInstanceOf(Uint8Array);
  const as = await createSession(ort, { ...plan, leavesShapesOut: false });
  expect(create.mock.calls.at(-1)?.[0]).toBe(plan.path);
  expect(without.session.inputMetadata).not.toEqual(as.session.inputMetadata);
  expect(without.inputs).toEqual(as.inputs);
  expect(without.outputs).toEqual(as.outputs);
  for (const shape of [
    [1, 3, 48, 64],
    [2, 3, 48, 320],
    [1, 3, 48, 64],
  ]) {
    expect(await outputOf(without.session, shape)).toEqual(await outputOf(as.session, shape));
  }
});

test('its weights stay pages of their file', async () => {
  const before = anonymousBytes();
  const sessions = [];
  for (let count = 0; count < 8; count += 1) sessions.push(await createSession(ort, plan));
  expect(sessions).toHaveLength(8);
  expect((anonymousBytes() - before) / 8).toBeLessThan(5e6);
});

test('where ONNX Runtime wants the shapes it gets them', async () => {
  const create = ort.InferenceSession.create.bind(ort.InferenceSession);
  vi.spyOn(ort.InferenceSession, 'create').mockImplementation(async (model: unknown, ...rest: unknown[]) => {
    if (typeof model !== 'string') throw new Error('a shape is missing');
    return create(model, ...(rest as []));
  });
  const { session, inputs } = await createSession(ort, plan);
  expect(inputs).toEqual(session.inputMetadata);
});

test('a file that is damaged fails as it does anyway', async () => {
  writeFileSync(plan.path, readFileSync(plan.path).subarray(0, 40_000));
  const said = async (one: SessionPlan): Promise<string> =>
    createSession(ort, one).then(
      () => 'created',
      (error: unknown) => String(error),
    );
  expect(await said(plan)).toBe(await said({ ...plan, leavesShapesOut: false }));
  expect(await said(plan)).toMatch(/protobuf/i);
});
