import { z } from 'zod';
import { imageInputProblem, imageInputSchema } from '../contracts/image-input.ts';
import { fields, optional, refuse, text } from './fields.ts';
import { pathBesideModel } from './path-beside-model.ts';

const pixels = z.int().min(1).max(8_192);
const factor = z.number().min(-1_000_000).max(1_000_000);
const perChannel = z.array(factor).min(1).max(3).meta({ minItems: 1, maxItems: 3 });

export const imageSchema = fields({
  input: optional(text(253).min(1)).describe('Name of the input; the model’s only one when left out.'),
  width: optional(pixels).describe('Pixels, where the model leaves them open.'),
  height: optional(pixels).describe('Pixels, where the model leaves them open.'),
  fit: z
    .enum(['fill', 'cover', 'contain'])
    .default('fill')
    .describe('Stretched to the model’s size, cut from the middle, or fitted in and padded.'),
  shorterSide: optional(pixels).describe(
    'The shorter side is brought to this first, and the model’s size cut from the middle.',
  ),
  channels: z.enum(['rgb', 'bgr']).default('rgb').describe('Order of the channels.'),
  scale: optional(factor).describe(
    'Values, 0 to 255, are multiplied by it before mean and deviation; 1/255 when left out.',
  ),
  mean: perChannel.default([0]).describe('Taken from each value: for all channels, or for each.'),
  std: perChannel.default([1]).describe('What each value is divided by: for all channels, or for each.'),
  padding: z.int().min(0).max(255).default(0).describe('Grey around an image that is fitted in.'),
  maxPixels: z
    .int()
    .min(1)
    .max(1_000_000_000)
    .default(50_000_000)
    .describe('Largest image that is taken, before it is scaled.'),
})
  .superRefine((image, context) => {
    const problem = imageInputProblem(imageInputSchema.parse(image));
    if (problem !== undefined) refuse(context, { refusal: 'message', message: problem });
  })
  .meta({
    'x-kubernetes-validations': [
      {
        rule: "!has(self.shorterSide) || self.fit != 'contain'",
        message: 'give either shorterSide or fit "contain"',
      },
    ],
  })
  .describe('Images (JPEG, PNG) are taken as requests, and become an input of the model.');

export const labelsSchema = fields({
  file: pathBesideModel('file', '', 'labels.txt').describe(
    'File in the model’s folder with a name of a class in each line.',
  ),
  top: z.int().min(1).max(1_000).default(5).describe('How many of the best classes are answered.'),
  output: optional(text(253).min(1)).describe('Output with the scores; the model’s only one when left out.'),
  keepScores: z.boolean().default(false).describe('Whether the scores of all classes are answered as well.'),
}).describe('Scores of a classifier are answered as names of its best classes.');
