import { z } from 'zod';

/** How a posted image becomes a model's input, and how scores become names: what a service may say of both. */

const perChannel = z.array(z.number().min(-1e6).max(1e6)).min(1).max(3);

export const imageInputSchema = z.strictObject({
  /** Name of the input; the model's only one when absent. */
  input: z.string().min(1).optional(),
  /** Pixels, where the model leaves them open. */
  width: z.number().int().min(1).max(8_192).optional(),
  height: z.number().int().min(1).max(8_192).optional(),
  fit: z.enum(['fill', 'cover', 'contain']).default('fill'),
  shorterSide: z.number().int().min(1).max(8_192).optional(),
  channels: z.enum(['rgb', 'bgr']).default('rgb'),
  scale: z.number().min(-1e6).max(1e6).optional(),
  mean: perChannel.default([0]),
  std: perChannel.default([1]),
  /** Grey value around an image that is fitted in by `contain`. */
  padding: z.number().int().min(0).max(255).default(0),
  /** Of an image as it comes, before it is scaled. */
  maxPixels: z.number().int().min(1).max(1_000_000_000).default(50_000_000),
});
export type ImageInput = z.output<typeof imageInputSchema>;

/** What two of its fields can't both say; undefined where all is well. */
export function imageInputProblem({ fit, shorterSide, std }: ImageInput): string | undefined {
  if (std.includes(0)) return 'std: a deviation of 0 can’t be divided by';
  if (fit !== 'contain' || shorterSide === undefined) return undefined;
  return 'shorterSide: the image is cut from the middle then, which fit "contain" does not do; give one of them';
}
