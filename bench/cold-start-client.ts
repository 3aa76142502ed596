import { request } from 'node:http';
import type { BinaryRequest } from './inference-request.ts';

export interface ClientAnswer {
  /** From before the connection is opened until the answer is complete and its tensor is at hand. */
  readonly totalMs: number;
  /** From the same moment to the head of the answer, which is what the platform calls answered. */
  readonly firstByteMs: number;
  readonly shape: readonly number[];
  readonly values: Float32Array;
}

interface AnswerJson {
  outputs: { shape: number[]; parameters: { binary_data_size: number } }[];
}

/** One inference by a client that has no connection yet. @throws Error unless it is answered with 200. */
export async function inferOnce(url: string, { path, headers, body }: BinaryRequest): Promise<ClientAnswer> {
  const sentMs = performance.now();
  const { head, bytes, firstByteMs } = await new Promise<{
    head: Record<string, unknown>;
    bytes: Buffer;
    firstByteMs: number;
  }>((resolve, reject) => {
    const outgoing = request(url + path, { method: 'POST', agent: false, headers }, (response) => {
      const chunks: Buffer[] = [];
      const headMs = performance.now() - sentMs;
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('error', reject);
      response.on('end', () => {
        const whole = Buffer.concat(chunks);
        if (response.statusCode === 200)
          resolve({ head: response.headers, bytes: whole, firstByteMs: headMs });
        else reject(new Error(`answered ${response.statusCode}: ${whole.toString('utf8', 0, 500)}`));
      });
    });
    outgoing.on('error', reject);
    outgoing.end(body);
  });
  const jsonBytes = Number(head['inference-header-content-length']);
  const { outputs } = JSON.parse(bytes.toString('utf8', 0, jsonBytes)) as AnswerJson;
  const [output] = outputs;
  if (output === undefined) throw new Error('the answer has no output');
  // A copy, because the tensor's bytes need not lie at a multiple of 4.
  const data = bytes.subarray(jsonBytes, jsonBytes + output.parameters.binary_data_size);
  const values = new Float32Array(new Uint8Array(data).buffer);
  return { totalMs: performance.now() - sentMs, firstByteMs, shape: output.shape, values };
}
