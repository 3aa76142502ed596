/** What a server says about one input of a model; -1 stands for a size that the request chooses. */
export interface InputMetadata {
  readonly name: string;
  readonly datatype: string;
  readonly shape: readonly number[];
}

/**
 * How an image is brought to the model's size: stretched (`fill`), scaled until it covers it and cut from the middle
 * (`cover`), or scaled until it fits and padded (`contain`).
 */
export type ImageFit = 'fill' | 'cover' | 'contain';

/** What the caller asked for; whatever is absent follows from the model. */
export interface ImageWishes {
  readonly height?: number | undefined;
  readonly width?: number | undefined;
  /** Of each channel, or of all when one; on the scale 0 to 1. */
  readonly mean?: readonly number[] | undefined;
  readonly std?: readonly number[] | undefined;
  readonly channels?: 'rgb' | 'bgr' | undefined;
  readonly fit?: ImageFit | undefined;
  /** Its shorter side is brought to this many pixels first; the model's size is then cut from the middle. */
  readonly shorterSide?: number | undefined;
  /** Each value, 0 to 255, is multiplied by it before mean and deviation; 1/255 when absent. */
  readonly scale?: number | undefined;
  /** Grey value of what `contain` adds, 0 to 255. */
  readonly padding?: number | undefined;
}

/** What wishes are called where they were given, for messages. */
export interface WishNames {
  readonly size: string;
  readonly mean: string;
  readonly std: string;
  readonly shorterSide: string;
}

const OPTIONS: WishNames = { size: '--size', mean: '--mean', std: '--std', shorterSide: 'shorterSide' };

/** How an image becomes a tensor. */
export interface ImagePlan {
  readonly input: string;
  readonly datatype: 'FP32' | 'FP16' | 'FP64' | 'UINT8';
  readonly layout: 'NCHW' | 'NHWC';
  readonly channelCount: 1 | 3;
  readonly height: number;
  readonly width: number;
  readonly channels: 'rgb' | 'bgr';
  readonly mean: readonly number[];
  readonly std: readonly number[];
  readonly scale: number;
  readonly padding: number;
  /** Size that the image is scaled to; of which the model's size is cut, or which is padded to it. */
  readonly scaled: { readonly width: number; readonly height: number };
}

/** Longest side of an image that is sent; larger ones are a mistake that would take gigabytes. */
const MAX_SIDE_PIXELS = 8_192;
const MAX_SCALED_PIXELS = 100_000_000;
const DATATYPES = ['FP32', 'FP16', 'FP64', 'UINT8'] as const;

/**
 * Decides how an image of the given size is fed to an input of rank 4: layout and number of channels from the
 * dimension that is 1 or 3; height and width from the model where it fixes them, else from the wishes, else from
 * the image itself, with its proportions kept. Without wishes the values are v/255 as RGB; UINT8 inputs get v.
 *
 * @throws Error that says what can't be decided, and which option decides it.
 */
export function planImage(
  input: InputMetadata,
  image: { readonly width: number; readonly height: number },
  wishes: ImageWishes,
  names: WishNames = OPTIONS,
): ImagePlan {
  const shown = `input "${input.name}" (${input.datatype} [${input.shape.join(', ')}])`;
  const datatype = DATATYPES.find((name) => name === input.datatype);
  if (datatype === undefined) throw new Error(`${shown} takes no image: expected ${DATATYPES.join(', ')}`);
  const [batch, second, third, last] = input.shape;
  if (batch === undefined || second === undefined || third === undefined || last === undefined) {
    throw new Error(`${shown} takes no image: expected 4 dimensions, [N,C,H,W] or [N,H,W,C]`);
  }
  if (input.shape.length !== 4 || (batch !== -1 && batch !== 1)) {
    throw new Error(`${shown} takes no single image: expected [N,C,H,W] or [N,H,W,C] with N variable or 1`);
  }
  const layout = isChannels(second) ? 'NCHW' : isChannels(last) ? 'NHWC' : undefined;
  const channelCount = layout === 'NCHW' ? second : last;
  if (layout === undefined || !isChannels(channelCount)) {
    throw new Error(`${shown} takes no image: no dimension of 1 or 3 channels`);
  }
  const [modelHeight, modelWidth] = layout === 'NCHW' ? [third, last] : [second, third];
  const { height, width } = chooseSize(shown, modelHeight, modelWidth, image, wishes, names);
  return {
    input: input.name,
    datatype,
    layout,
    channelCount,
    height,
    width,
    channels: wishes.channels ?? 'rgb',
    mean: perChannel(names.mean, wishes.mean ?? [0], channelCount),
    std: perChannel(names.std, wishes.std ?? [1], channelCount),
    scale: wishes.scale ?? 1 / 255,
    padding: wishes.padding ?? 0,
    scaled: scaledSize(image, { width, height }, wishes, names),
  };
}

function scaledSize(
  image: Size,
  target: Size,
  { fit = 'fill', shorterSide }: ImageWishes,
  names: WishNames,
): Size {
  if (shorterSide !== undefined) {
    if (shorterSide < Math.max(target.width, target.height)) {
      throw new Error(
        `${names.shorterSide}: expected at least the size of the input, ${target.width}x${target.height}, got ${shorterSide}`,
      );
    }
    return bounded(times(image, shorterSide / Math.min(image.width, image.height)));
  }
  if (fit === 'fill') return target;
  const [across, down] = [target.width / image.width, target.height / image.height];
  const scaled = times(image, fit === 'cover' ? Math.max(across, down) : Math.min(across, down));
  // Rounding must leave no line uncovered, or take one too many.
  const bound = fit === 'cover' ? Math.max : Math.min;
  return bounded({
    width: bound(scaled.width, target.width),
    height: bound(scaled.height, target.height),
  });
}

/** One line of pixels, its short side made as wide as a model, would be a hundred million of them. */
function bounded(scaled: Size): Size {
  if (scaled.width * scaled.height <= MAX_SCALED_PIXELS) return scaled;
  throw new Error(
    `the image would be ${scaled.width}x${scaled.height} pixels before it is cut: it is too long and thin for this`,
  );
}

interface Size {
  readonly width: number;
  readonly height: number;
}

const times = ({ width, height }: Size, factor: number): Size => ({
  width: Math.max(1, Math.round(width * factor)),
  height: Math.max(1, Math.round(height * factor)),
});

const isChannels = (size: number | undefined): size is 1 | 3 => size === 1 || size === 3;

function chooseSize(
  shown: string,
  modelHeight: number,
  modelWidth: number,
  image: { readonly width: number; readonly height: number },
  wishes: ImageWishes,
  names: WishNames,
): { height: number; width: number } {
  const fixed = (side: string, model: number, wished: number | undefined): number | undefined => {
    if (model > 0 && wished !== undefined && wished !== model) {
      throw new Error(`${shown} has a ${side} of ${model}; ${names.size} asks for ${wished}`);
    }
    return model > 0 ? model : wished;
  };
  let height = fixed('height', modelHeight, wishes.height);
  let width = fixed('width', modelWidth, wishes.width);
  const ratio = image.width / image.height;
  height ??= width === undefined ? image.height : Math.max(1, Math.round(width / ratio));
  width ??= Math.max(1, Math.round(height * ratio));
  if (Math.max(height, width) > MAX_SIDE_PIXELS) {
    throw new Error(
      `the image would be ${width}x${height} pixels; at most ${MAX_SIDE_PIXELS} a side: give ${names.size}`,
    );
  }
  return { height, width };
}

function perChannel(option: string, values: readonly number[], channelCount: number): readonly number[] {
  if (values.length === channelCount) return values;
  const [only] = values;
  if (values.length === 1 && only !== undefined) return Array.from({ length: channelCount }, () => only);
  throw new Error(`${option}: expected 1 or ${channelCount} numbers for this model, got ${values.length}`);
}

/**
 * Pixels as the tensor that a plan asks for, batch 1.
 *
 * @param pixels 8 bits a channel, interleaved, `height * width * channelCount` bytes, RGB where there are 3.
 * @returns shape, and row-major little-endian bytes.
 */
export function imageTensor(
  pixels: Uint8Array,
  plan: ImagePlan,
): { shape: readonly number[]; bytes: Uint8Array } {
  const { height, width, channelCount, layout } = plan;
  const area = height * width;
  if (pixels.length !== area * channelCount) {
    throw new Error(`expected ${area * channelCount} bytes of pixels, got ${pixels.length}`);
  }
  const values = newArray(plan.datatype, pixels.length);
  for (let channel = 0; channel < channelCount; channel++) {
    const source = plan.channels === 'bgr' ? channelCount - 1 - channel : channel;
    const mean = plan.mean[channel] ?? 0;
    const std = plan.std[channel] ?? 1;
    for (let pixel = 0; pixel < area; pixel++) {
      const value = pixels[pixel * channelCount + source] ?? 0;
      const index = layout === 'NCHW' ? channel * area + pixel : pixel * channelCount + channel;
      values[index] = plan.datatype === 'UINT8' ? value : (value * plan.scale - mean) / std;
    }
  }
  const shape = layout === 'NCHW' ? [1, channelCount, height, width] : [1, height, width, channelCount];
  return { shape, bytes: new Uint8Array(values.buffer) };
}

function newArray(
  datatype: ImagePlan['datatype'],
  length: number,
): Float32Array | Float16Array | Float64Array | Uint8Array {
  switch (datatype) {
    case 'FP32':
      return new Float32Array(length);
    case 'FP16':
      return new Float16Array(length);
    case 'FP64':
      return new Float64Array(length);
    case 'UINT8':
      return new Uint8Array(length);
  }
}
