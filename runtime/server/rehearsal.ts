import type { Logger } from '../../process/logger.ts';
import { INFERENCE_HEADER_LENGTH } from '../core/oip-binary.ts';
import type { Engine, LoadedModel } from '../ports.ts';
import { openServer } from './server.ts';

const ROUNDS = 4;
const VALUES = 1_024;

/** Gives back what it gets: the rehearsal is of what stands around a model. */
const MIRROR: LoadedModel = {
  name: 'mirror',
  versions: ['1'],
  signature: {
    inputs: [{ name: 'x', datatype: 'FP32', shape: ['n'] }],
    outputs: [{ name: 'y', datatype: 'FP32', shape: ['n'] }],
    maxBatchSize: 0,
  },
  capacity: 1,
  sizeBytes: 0,
  infer: async ({ inputs }) => ({
    outputs: inputs.map((input) => ({ ...input, name: 'y' })),
    queuedMs: 0,
    computeMs: 0,
  }),
};

/**
 * Answers a few requests on a port of its own, so that the code of the serving port has run before: the first
 * request of a cold start would otherwise pay 10 to 20 ms for that. Nothing of it is counted or left open.
 *
 * @throws nothing: a rehearsal that fails makes the first request slower, not impossible.
 */
export async function rehearseServing(logger: Logger): Promise<void> {
  const engine: Engine = {
    current: { phase: 'ready', model: MIRROR, claim: undefined },
    welcomesCallers: true,
  };
  try {
    const server = await openServer({
      host: '127.0.0.1',
      port: 0,
      engine,
      logger: logger.child({}, { level: 'silent' }),
    });
    for (let round = 0; round < ROUNDS; round++) {
      await post(server.port, jsonRequest());
      await post(server.port, binaryRequest());
    }
    await server.stop();
  } catch (error) {
    logger.debug({ err: error }, 'a request could not be rehearsed');
  }
}

interface Request {
  headers: Record<string, string>;
  body: Buffer;
}

function jsonRequest(): Request {
  const data = Array.from({ length: VALUES }, (_, index) => index / 7);
  const body = { inputs: [{ name: 'x', shape: [VALUES], datatype: 'FP32', data }] };
  return { headers: { 'content-type': 'application/json' }, body: Buffer.from(JSON.stringify(body)) };
}

function binaryRequest(): Request {
  const tensor = Buffer.from(new Float32Array(VALUES).buffer);
  const head = Buffer.from(
    JSON.stringify({
      inputs: [
        { name: 'x', shape: [VALUES], datatype: 'FP32', parameters: { binary_data_size: tensor.length } },
      ],
      parameters: { binary_data_output: true },
    }),
  );
  const headers = {
    'content-type': 'application/octet-stream',
    [INFERENCE_HEADER_LENGTH]: String(head.length),
  };
  return { headers, body: Buffer.concat([head, tensor]) };
}

function post(port: number, { headers, body }: Request): Promise<void> {
  const { request } = process.getBuiltinModule('node:http');
  return new Promise((resolve, reject) => {
    const call = request(
      { host: '127.0.0.1', port, method: 'POST', path: '/v2/models/mirror/infer', agent: false, headers },
      (answer) => {
        answer.resume();
        answer.once('end', resolve);
        answer.once('error', reject);
      },
    );
    call.once('error', reject);
    call.end(body);
  });
}
