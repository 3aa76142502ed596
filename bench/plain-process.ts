import { createWriteStream, readFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { InferenceSession, Tensor } from 'onnxruntime-node';

/**
 * What one would write without a platform, for comparison: a process that fetches the model, creates a session
 * and answers. Arguments: URL of the model, file to keep it in, file with FP32 input, its shape, name of the input, and
 * the names of files beside the model.
 */
const [, , url, modelPath, inputPath, shape, inputName, ...beside] = process.argv;
if (
  url === undefined ||
  modelPath === undefined ||
  inputPath === undefined ||
  shape === undefined ||
  inputName === undefined
) {
  throw new Error('expected the URL, the two files, the shape and the name of the input');
}

for (const name of [basename(modelPath), ...beside]) {
  const response = await fetch(new URL(name, url));
  if (!response.ok || response.body === null)
    throw new Error(`the model's server answered ${response.status}`);
  const body = Readable.fromWeb(response.body);
  await pipeline(body, createWriteStream(join(dirname(modelPath), name)));
}
const session = await InferenceSession.create(modelPath);
const input = new Float32Array(new Uint8Array(readFileSync(inputPath)).buffer);
const dims = shape.split('x').map(Number);
const outputs = await session.run({ [inputName]: new Tensor('float32', input, dims) });
const [output] = Object.values(outputs);
process.stdout.write(`${JSON.stringify({ shape: output?.dims })}\n`);
