import { parentPort } from 'node:worker_threads';
import { openImage } from '../../vision/decode-image.ts';
import { imageTensor, planImage } from '../../vision/image-plan.ts';
import { elementSizeBytes, type Tensor, viewOf } from '../core/tensor.ts';
import type { FromImageThread, ToImageThread } from './image-messages.ts';

/**
 * The thread in which images become tensors. libvips has threads of its own for the decoding; what is done here,
 * a few milliseconds of arithmetic for a large input, would hold up every other request on the main thread.
 */
const port = parentPort;
if (port === null) throw new Error('image-worker.ts runs in a worker thread only');

const NAMES = {
  size: 'imageInput.width and imageInput.height',
  mean: 'imageInput.mean',
  std: 'imageInput.std',
  shorterSide: 'imageInput.shorterSide',
};
const TIMEOUT_SECONDS = 20;

const say = (message: FromImageThread, transferList: ArrayBuffer[] = []): void => {
  port.postMessage(message, transferList);
};

async function read({ id, bytes, format, task }: ToImageThread): Promise<void> {
  const { input, image } = task;
  try {
    const opened = await openImage(bytes, { maxPixels: image.maxPixels, timeoutSeconds: TIMEOUT_SECONDS });
    if (opened.format !== format) throw new Error(`it is ${opened.format} by its content`);
    const plan = planImage(input, opened, image, NAMES);
    const pixels = await opened.pixels(plan, image.shorterSide === undefined ? image.fit : 'cover');
    const { shape, bytes: data } = imageTensor(pixels, plan);
    const count = data.byteLength / elementSizeBytes(plan.datatype);
    const tensor: Tensor = {
      name: plan.input,
      datatype: plan.datatype,
      shape,
      data: viewOf(plan.datatype, data.buffer, data.byteOffset, count),
    };
    say({ kind: 'read', id, tensor }, [data.buffer as ArrayBuffer]);
  } catch (error) {
    const said = error instanceof Error ? error.message : String(error);
    if (/exceeds pixel limit/i.test(said)) {
      const message = `the image has more than the ${image.maxPixels} pixels allowed; send a smaller one`;
      say({ kind: 'refused', id, code: 'body-too-large', message });
    } else {
      const message = `the body is no ${format.toUpperCase()} that can be used: ${said.slice(0, 300)}`;
      say({ kind: 'refused', id, code: 'invalid-request', message });
    }
  }
}

port.on('message', (message: ToImageThread) => void read(message));
// Loaded now, not by the first request.
await import('sharp');
say({ kind: 'started' });
