import type { Sharp } from 'sharp';
import type { ImageFit, ImagePlan } from './image-plan.ts';

export interface DecodeLimits {
  /** A file of a few KB can unfold to gigabytes of pixels; refused by its header, before it does. */
  readonly maxPixels: number;
  /** libvips gives up after this. */
  readonly timeoutSeconds: number;
}

/** An image whose header was read. */
export interface OpenedImage {
  readonly format: string;
  /** As it is seen, turned upright. */
  readonly width: number;
  readonly height: number;
  /** Pixels of a plan's size, 8 bits a channel, interleaved, RGB where there are three. */
  pixels(plan: ImagePlan, fit: ImageFit): Promise<Uint8Array>;
}

/**
 * Reads the header of an image. sharp is loaded here and nowhere else: it takes 50 ms and 20 MB that only those pay
 * who have images.
 *
 * @throws Error of sharp for what is no image, or one with too many pixels
 */
export async function openImage(bytes: Uint8Array, limits: DecodeLimits): Promise<OpenedImage> {
  const { default: sharp } = await import('sharp');
  // Each image comes once; a cache would only keep memory.
  sharp.cache(false);
  const picture = sharp(bytes, { limitInputPixels: limits.maxPixels, failOn: 'error' }).timeout({
    seconds: limits.timeoutSeconds,
  });
  const { format, autoOrient } = await picture.metadata();
  const pixels = async (plan: ImagePlan, fit: ImageFit): Promise<Uint8Array> => {
    // On white where it is transparent.
    const upright = picture.autoOrient().flatten({ background: '#ffffff' });
    const { data } = await sized(upright, plan, fit)
      .toColourspace(plan.channelCount === 1 ? 'b-w' : 'srgb')
      .raw({ depth: 'uchar' })
      .toBuffer({ resolveWithObject: true });
    return data;
  };
  return { format, ...autoOrient, pixels };
}

function sized(picture: Sharp, { width, height, scaled, padding }: ImagePlan, fit: ImageFit): Sharp {
  const resized = picture.resize(scaled.width, scaled.height, { fit: 'fill' });
  const [left, top] = [Math.abs(scaled.width - width) >> 1, Math.abs(scaled.height - height) >> 1];
  if (fit !== 'contain') return resized.extract({ left, top, width, height });
  return resized.extend({
    left,
    top,
    right: width - scaled.width - left,
    bottom: height - scaled.height - top,
    background: { r: padding, g: padding, b: padding },
  });
}
