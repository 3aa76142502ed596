import { afterEach, expect, test } from 'vitest';
import type { PilotlightError } from '../../contracts/errors.ts';
import type { HookResult, RequestForHook } from './messages.ts';
import { ModuleHost } from './module-host.ts';

const MIB = 1024 ** 2;
const hosts: ModuleHost[] = [];
const troubles: string[] = [];

afterEach(() => {
  for (const one of hosts.splice(0)) one.close();
  troubles.length = 0;
});

async function host(
  source: string,
  limits: { timeoutMs?: number; memoryBytes?: number } = {},
): Promise<ModuleHost> {
  const started = await ModuleHost.start(
    { name: 'transform.mjs', source },
    { timeoutMs: 10_000, memoryBytes: 64 * MIB, ...limits },
    AbortSignal.timeout(15_000),
    ({ message }) => troubles.push(message),
  );
  hosts.push(started);
  return started;
}

function request(parts: Partial<RequestForHook> = {}): RequestForHook {
  return {
    model: { name: 'm', version: '1' },
    protocol: 'v2',
    id: undefined,
    parameters: {},
    inputs: [],
    outputs: [],
    body: undefined,
    contentType: undefined,
    headers: {},
    ...parts,
  };
}

function preprocess(
  to: ModuleHost,
  parts: Partial<RequestForHook> = {},
  signal = new AbortController().signal,
  deadlineMs = performance.now() + 60_000,
): Promise<HookResult> {
  return to.call({ hook: 'preprocess', request: request(parts) }, { deadlineMs, signal });
}

const refusal = (promise: Promise<unknown>): Promise<PilotlightError> =>
  promise.then(
    () => {
      throw new Error('expected an error');
    },
    (error: unknown) => error as PilotlightError,
  );

const ECHO = 'export const preprocess = ({ inputs }) => ({ inputs });';

test('a tensor goes through the hook of a module and back, FP16 as numbers', async () => {
  const echo = await host(
    `export function preprocess({ inputs: [x] }) {
      return { inputs: [{ ...x, data: x.data.map((value) => value * 2) }], state: { seen: [...x.data] } };
    }`,
  );
  expect(echo.exports.hooks).toEqual(['preprocess']);
  const halves = new Float16Array([0.5, 3]);
  const result = await preprocess(echo, {
    inputs: [{ name: 'x', datatype: 'FP16', shape: [2], data: new Uint16Array(halves.buffer) }],
  });
  if (result.kind !== 'inputs') throw new Error('expected inputs');
  expect(result.state).toEqual({ seen: [0.5, 3] });
  const data = result.inputs[0]?.data as Uint16Array;
  expect([...new Float16Array(data.buffer as ArrayBuffer, data.byteOffset, 2)]).toEqual([1, 6]);
});

test('a hook gets the very bytes of a body that lies in a pool, and no others', async () => {
  const lengths = await host(
    `export const preprocess = ({ body }) => ({
      inputs: [{ name: 'n', datatype: 'INT32', shape: [2], data: [body.length, body.buffer.byteLength] }],
    });`,
  );
  const result = await preprocess(lengths, { body: Buffer.from('hello') });
  expect(result).toMatchObject({ kind: 'inputs', inputs: [{ data: Int32Array.of(5, 5) }] });
});

test('a module may keep what it gives away', async () => {
  const constant = await host(
    `const data = new Float32Array(4096).fill(7);
    export const preprocess = () => ({ inputs: [{ name: 'c', datatype: 'FP32', shape: [4096], data }] });`,
  );
  for (let call = 0; call < 2; call++) {
    const result = await preprocess(constant);
    expect(result.kind === 'inputs' && result.inputs[0]?.data[4095]).toBe(7);
  }
});

test.each([
  ['no hook', 'export const preProcess = () => 1;', 'it exports preProcess'],
  ['a syntax error', 'export function preprocess( {', 'SyntaxError'],
  ['an error at its top', 'throw new Error("no dictionary");', 'no dictionary (transform.mjs:1'],
  [
    'an import of a file beside it',
    'import "./other.mjs"; export const preprocess = 1;',
    "imports './other.mjs'",
  ],
  ['an import of a package', 'import "onnxruntime-node";', "imports 'onnxruntime-node'"],
  ['a hook that is no function', 'export const preprocess = 3;', 'to be a function, got a number'],
  ['its own end', 'process.exit(3);', 'process.exit(3)'],
])('a module with %s is refused with the reason', async (_what, source, reason) => {
  const error = await refusal(host(source));
  expect(error.code).toBe('transform-invalid');
  expect(error.message).toContain(reason);
});

test('a module may import what Node has, and reads no variables of the platform', async () => {
  process.env['PILOTLIGHT_ADMIN_TOKEN'] = 'secret';
  process.env['OF_THE_SERVICE'] = 'seen';
  try {
    const module = await host(
      `import { createHash } from 'node:crypto';
      export const preprocess = () => ({
        inputs: [{ name: 's', datatype: 'BYTES', shape: [3], data: [
          createHash('sha256').update('').digest('hex').slice(0, 8),
          String(process.env.PILOTLIGHT_ADMIN_TOKEN),
          String(process.env.OF_THE_SERVICE),
        ] }],
      });`,
    );
    const result = await preprocess(module);
    expect(result.kind === 'inputs' && result.inputs[0]?.data).toEqual(['e3b0c442', 'undefined', 'seen']);
  } finally {
    delete process.env['PILOTLIGHT_ADMIN_TOKEN'];
    delete process.env['OF_THE_SERVICE'];
  }
});

test('an error with a status is the caller’s, any other one the module’s', async () => {
  const picky = await host(
    `export function preprocess({ id }) {
      if (id === 'bad') throw Object.assign(new Error('expected a longer text'), { status: 422 });
      return null.inputs;
    }`,
  );
  expect(await refusal(preprocess(picky, { id: 'bad' }))).toMatchObject({
    code: 'transform-refused',
    status: 422,
    message: 'expected a longer text',
  });
  const error = await refusal(preprocess(picky));
  expect(error).toMatchObject({ code: 'transform-failed', status: 500 });
  expect(error.message).toMatch(/^preprocess of transform\.mjs failed: TypeError: .*\(transform\.mjs:3:/);
});

test('what a hook must not give is refused by name', async () => {
  const wrong = await host(
    'export const preprocess = () => ({ inputs: [{ name: "x", datatype: "FP32", shape: [2], data: [1] }] });',
  );
  const error = await refusal(preprocess(wrong));
  expect(error.message).toContain("inputs[0] ('x').data: shape [2] holds 2 elements, got 1");
});

test('a hook that hangs costs its thread, and the next call finds another one', async () => {
  const hanging = await host(
    `export function preprocess({ id, inputs }) {
      if (id === 'hang') for (;;);
      return { inputs: [{ name: 'x', datatype: 'FP32', shape: [1], data: [1] }] };
    }`,
    { timeoutMs: 300 },
  );
  const hung = refusal(preprocess(hanging, { id: 'hang' }));
  const behind = preprocess(hanging);
  expect(await hung).toMatchObject({ code: 'transform-timeout', status: 504 });
  expect(await behind).toMatchObject({ kind: 'inputs' });
  expect(troubles).toEqual([expect.stringContaining('longer than its limit of 300 ms')]);
});

test('a hook that eats its memory costs its thread alone', async () => {
  const greedy = await host(
    `const kept = [];
    export function preprocess({ id, inputs }) {
      if (id === 'eat') for (;;) kept.push(new Array(500_000).fill(1));
      return { inputs: [{ name: 'x', datatype: 'FP32', shape: [1], data: [1] }] };
    }`,
    { memoryBytes: 32 * MIB, timeoutMs: 60_000 },
  );
  const error = await refusal(preprocess(greedy, { id: 'eat' }));
  expect(error.code).toBe('transform-failed');
  expect(error.message).toContain('more memory than its limit of 32 MiB');
  expect(await preprocess(greedy)).toMatchObject({ kind: 'inputs' });
});

test('hooks that wait for something are under way together', async () => {
  const meeting = await host(
    `let waiting = [];
    export async function preprocess({ inputs }) {
      await new Promise((resolve) => {
        waiting.push(resolve);
        if (waiting.length === 3) for (const one of waiting) one();
      });
      return { inputs };
    }`,
  );
  const x = (): Partial<RequestForHook> => ({
    inputs: [{ name: 'x', datatype: 'FP32', shape: [1], data: new Float32Array(1) }],
  });
  expect(
    await Promise.all([preprocess(meeting, x()), preprocess(meeting, x()), preprocess(meeting, x())]),
  ).toHaveLength(3);
});

test('a call whose client left, or whose time is over, waits no longer', async () => {
  const slow = await host(
    'export const preprocess = () => new Promise((resolve) => setTimeout(resolve, 60_000));',
  );
  const gone = new AbortController();
  const left = refusal(preprocess(slow, {}, gone.signal));
  gone.abort();
  expect((await left).code).toBe('client-closed');
  expect((await refusal(preprocess(slow, {}, undefined, performance.now() + 20))).code).toBe(
    'inference-timeout',
  );
});

test('an error that nobody in the module caught is told to who waits', async () => {
  const careless = await host(
    'export const preprocess = () => new Promise(() => { setTimeout(() => { throw new Error("forgotten"); }, 1); });',
  );
  const error = await refusal(preprocess(careless));
  expect(error).toMatchObject({ code: 'transform-failed', message: expect.stringContaining('forgotten') });
});

test('a closed host takes and keeps nothing', async () => {
  const echo = await host(ECHO);
  const waiting = refusal(preprocess(echo));
  echo.close();
  expect((await waiting).code).toBe('draining');
  expect((await refusal(preprocess(echo))).code).toBe('draining');
});
