import type { Buffer } from 'node:buffer';
import type { WireTensor } from '../../client/core/tensor-values.ts';
import { openImage } from '../../vision/decode-image.ts';
import { type ImageWishes, type InputMetadata, imageTensor, planImage } from '../../vision/image-plan.ts';
import { CommandFailure, messageOf } from '../failure.ts';

/** A file of a few KB can unfold to gigabytes of pixels; this is four times a large camera's. */
const LIMITS = { maxPixels: 200_000_000, timeoutSeconds: 60 };

/**
 * An image file (PNG, JPEG, WebP, GIF, TIFF, AVIF, SVG) as the tensor that an input takes; turned upright as its
 * EXIF data says, on white where it is transparent.
 *
 * @throws CommandFailure when it is no image, or doesn't fit the input.
 */
export async function imageInput(
  image: { readonly bytes: Buffer; readonly source: string },
  input: InputMetadata,
  wishes: ImageWishes,
): Promise<WireTensor> {
  try {
    const picture = await openImage(image.bytes, LIMITS).catch((error: unknown) => {
      throw new Error(`neither JSON, nor .npy, nor an image that can be read (${messageOf(error)})`);
    });
    const plan = planImage(input, picture, wishes);
    const data = await picture.pixels(plan, 'fill');
    return { name: plan.input, datatype: plan.datatype, ...imageTensor(data, plan) };
  } catch (error) {
    throw new CommandFailure(`${image.source}: ${messageOf(error)}`);
  }
}
