import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { PilotlightError } from '../../contracts/errors.ts';
import type { ModelSignature } from '../core/model-signature.ts';
import { decodeInferBody } from '../core/oip-binary.ts';
import { encodeInferResponse } from '../core/oip-response.ts';
import { DATATYPES, type Datatype, type Tensor } from '../core/tensor.ts';
import { anyTensor, bitsOf, EXTREMES, tensorOf } from '../core/testing-tensors.ts';
import { decodePredictRequest, encodePredictResponse } from '../core/v1.ts';
import { ByteBudget } from './byte-budget.ts';
import { type JsonUser, LargeJson } from './large-json.ts';
import { HeldBytes } from './read-body.ts';

const budget = new ByteBudget(Number.MAX_SAFE_INTEGER);
const onLost = (error: Error): never => {
  throw error;
};
const json = new LargeJson(budget, onLost);
beforeAll(() => startThreads(json));
afterAll(() => json.close());

function user(): JsonUser {
  return {
    deadlineMs: Number.POSITIVE_INFINITY,
    signal: new AbortController().signal,
    held: new HeldBytes(budget),
  };
}

function signatureOf(datatype: Datatype): ModelSignature {
  return { inputs: [{ name: 'x', datatype, shape: [-1] }], outputs: [], maxBatchSize: 0 };
}

/** The first long body of a process is read at once; from the second on there are threads. */
async function startThreads(large: LargeJson): Promise<void> {
  for (const hasThreads of [false, true]) {
    await large.decodeV1(padded('{"instances":[1]}', LONG_V1_BYTES), signatureOf('FP32'), user());
    expect(large.hasThreads).toBe(hasThreads);
  }
}

/** Blanks between the tokens change nothing but the length, and the positions that errors name. */
function padded(text: string, sizeBytes: number): Buffer {
  const body = Buffer.alloc(sizeBytes + Buffer.byteLength(text), ' ');
  body.write(text, sizeBytes);
  return body;
}

const LONG_V2_BYTES = 2_000_000;
const LONG_V1_BYTES = 720_000;

/** What came of it, in a form that compares: bits, so that NaN and -0 are told apart, and prototypes. */
async function outcome(work: () => unknown): Promise<unknown> {
  try {
    const made = await work();
    if (made instanceof Uint8Array) return Buffer.from(made).toString('latin1');
    const { inputs, chunks, ...rest } = made as { inputs?: readonly Tensor[]; chunks?: Uint8Array[] };
    return {
      rest,
      inputs: inputs?.map((tensor) => ({ ...tensor, data: bitsOf(tensor) })),
      kinds: inputs?.map(({ data }) => data.constructor.name),
      chunks: chunks?.map((chunk) => Buffer.from(chunk).toString('latin1')),
      hasPrototype: 'parameters' in rest ? Object.getPrototypeOf(rest.parameters) !== null : undefined,
    };
  } catch (error) {
    if (!(error instanceof PilotlightError)) throw error;
    const { code, message, status, retryAfterSeconds } = error;
    return { code, message, status, retryAfterSeconds };
  }
}

const anyParameters = fc.dictionary(
  fc.oneof(fc.constantFrom('__proto__', 'constructor', 'binary_data_output', 'a'), fc.string()),
  fc.oneof(fc.string(), fc.integer(), fc.boolean(), fc.constant(null)),
  { maxKeys: 4, noNullPrototype: false },
);

/** A request, mostly whole, at times with a byte that was put over another one. */
const anyRequest = fc
  .record({
    tensors: fc.array(anyTensor(DATATYPES.filter((datatype) => datatype !== 'FP16')), { maxLength: 3 }),
    parameters: anyParameters,
    big: fc.constantFrom('', ',"big":9007199254740993'),
    damage: fc.option(
      fc.record({ at: fc.nat(), char: fc.constantFrom(...'{ } [ ] " , : 0 e - n t \u0000'.split(' ')) }),
      {
        freq: 2,
      },
    ),
  })
  .map(({ tensors, parameters, big, damage }) => {
    const response = encodeInferResponse(
      { modelName: 'm', modelVersion: undefined, id: 'i', parameters: {}, outputs: tensors },
      () => false,
    );
    const text = Buffer.concat(response.chunks)
      .toString()
      .replace('"outputs":', '"inputs":')
      .replace(
        '"id":',
        () =>
          `"parameters":{"p":1${big}},"outputs":[{"name":"y","parameters":${JSON.stringify(parameters)}}],"id":`,
      );
    if (damage === null) return text;
    const at = damage.at % text.length;
    return text.slice(0, at) + damage.char + text.slice(at + 1);
  });

test('an OIP body gives the same tensors, or the same error, in another thread as here', async () => {
  await fc.assert(
    fc.asyncProperty(anyRequest, async (text) => {
      const signature = signatureOf('FP32');
      const here = await outcome(() => decodeInferBody(padded(text, LONG_V2_BYTES), undefined, signature));
      const task = { body: padded(text, LONG_V2_BYTES), headerLength: undefined, signature };
      const there = await outcome(() => json.decodeV2(task, user()));
      expect(there).toEqual(here);
      expect(task.body.byteLength).toBe(0);
    }),
    { numRuns: 60 },
  );
});

test('binary tensors behind long JSON are cut out of the body', async () => {
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ minLength: 1, maxLength: 100 }), fc.boolean(), async (data, isShort) => {
      const head = `{"inputs":[{"name":"x","datatype":"UINT8","shape":[${data.length}],"parameters":{"binary_data_size":${data.length}}}]}`;
      const whole = Buffer.concat([padded(head, LONG_V2_BYTES), data]);
      const body = (): Buffer => Buffer.from(isShort ? whole.subarray(0, -1) : whole);
      const headerLength = String(LONG_V2_BYTES + head.length);
      const signature = signatureOf('UINT8');
      const here = await outcome(() => decodeInferBody(body(), headerLength, signature));
      const there = await outcome(() => json.decodeV2({ body: body(), headerLength, signature }, user()));
      expect(there).toEqual(here);
    }),
    { numRuns: 10 },
  );
});

test('a V1 body gives the same tensors, or the same error, in another thread as here', async () => {
  const anyBody = fc.oneof(
    fc
      .array(fc.array(fc.double(), { minLength: 2, maxLength: 2 }), { maxLength: 5 })
      .map((rows) => JSON.stringify({ instances: rows })),
    fc.array(fc.integer(), { maxLength: 5 }).map((x) => JSON.stringify({ inputs: { x } })),
    fc.json(),
    fc.string(),
  );
  await fc.assert(
    fc.asyncProperty(anyBody, async (text) => {
      const signature = signatureOf('FP32');
      const here = await outcome(() => decodePredictRequest(padded(text, LONG_V1_BYTES), signature));
      const there = await outcome(() => json.decodeV1(padded(text, LONG_V1_BYTES), signature, user()));
      expect(there).toEqual(here);
    }),
    { numRuns: 60 },
  );
});

test('a long answer is written with the same bytes, or the same error, in another thread as here', async () => {
  const elements = 50_000;
  for (const datatype of DATATYPES) {
    for (const isBinary of [false, true]) {
      const make = (): Tensor[] => [
        tensorOf(datatype, [elements / 4, 4], EXTREMES[datatype], 'y'),
        tensorOf('UINT8', [elements / 4, 4], [1, 2, 3], 'z'),
      ];
      const response = (outputs: readonly Tensor[]) => ({
        modelName: 'm',
        modelVersion: '1',
        id: 'i',
        parameters: { big: 9_007_199_254_740_993n },
        outputs,
      });
      const binary = (name: string): boolean => isBinary && name === 'y';
      const here = await outcome(() => encodeInferResponse(response(make()), binary));
      const there = await outcome(() => json.encodeV2(response(make()), binary, user()));
      expect(there).toEqual(here);
      if (isBinary) continue;
      for (const request of [
        { layout: 'rows', rowCount: elements / 4 },
        { layout: 'rows', rowCount: 7 },
        { layout: 'columns', rowCount: undefined },
      ] as const) {
        const v1Here = await outcome(() => encodePredictResponse(make(), request));
        const v1There = await outcome(() => json.encodeV1(make(), request, user()));
        expect(v1There).toEqual(v1Here);
      }
    }
  }
});

test('what is short is done at once, and starts no thread', async () => {
  const idle = new LargeJson(budget, onLost);
  const text = '{"inputs":[{"name":"x","datatype":"FP32","shape":[1],"data":[1]}]}';
  const signature = signatureOf('FP32');
  const body = padded(text, LONG_V2_BYTES - text.length - 1);
  await idle.decodeV2({ body, headerLength: undefined, signature }, user());
  await idle.decodeV1(padded('{"instances":[1]}', 1), signature, user());
  await idle.encodeV1([tensorOf('FP32', [49_999])], { layout: 'columns', rowCount: undefined }, user());
  expect(idle.hasThreads).toBe(false);
});

test('the first long body and the first long answer of a process wait for no thread to start, very long ones do', async () => {
  const columns = { layout: 'columns', rowCount: undefined } as const;
  const first = new LargeJson(budget, onLost);
  await first.decodeV1(padded('{"instances":[1]}', LONG_V1_BYTES), signatureOf('FP32'), user());
  await first.encodeV1([tensorOf('FP32', [50_000])], columns, user());
  expect(first.hasThreads).toBe(false);
  await first.encodeV1([tensorOf('FP32', [50_000])], columns, user());
  expect(first.hasThreads).toBe(true);
  first.close();
  const other = new LargeJson(budget, onLost);
  await other.decodeV1(padded('{"instances":[1]}', 4 * LONG_V1_BYTES), signatureOf('FP32'), user());
  expect(other.hasThreads).toBe(true);
  other.close();
});

test('the bytes of a body are accounted until its tensors take their place, and given back with them', async () => {
  const own = new ByteBudget(Number.MAX_SAFE_INTEGER);
  const held = new HeldBytes(own);
  const large = new LargeJson(own, onLost);
  await startThreads(large);
  const body = padded('{"instances":[1,2,3]}', LONG_V1_BYTES);
  held.take(body.byteLength);
  const reading = large.decodeV1(body, signatureOf('FP64'), { ...user(), held });
  expect(own.heldBytes).toBe(LONG_V1_BYTES + 21);
  await reading;
  expect(own.heldBytes).toBe(3 * 8);
  held.release();
  expect(own.heldBytes).toBe(0);
  large.close();
});
