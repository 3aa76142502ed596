import { z } from 'zod';
import { fields, optional } from './fields.ts';
import { pathBesideModel } from './path-beside-model.ts';

/**
 * @param storageUri the schema of a place of a model.
 * @returns the schema of what a model is compared with before a revision of it serves.
 */
export function paritySchema<Uri extends z.ZodType<string>>(storageUri: Uri) {
  return fields({
    against: storageUri.describe(
      'The model that is right: what a quantised, compiled or canary model is to answer like. The service’s credentials are good for it where it lies in the same store.',
    ),
    samples: optional(pathBesideModel('file', '[.]jsonl?', 'samples.jsonl')).describe(
      'File in the model’s folder with requests of the protocol: .jsonl, one in each line, or .json; made-up inputs when left out.',
    ),
    tolerancePercent: z
      .number()
      .min(0)
      .max(100)
      .default(1)
      .describe('Largest error of a float output, in percent of the largest value of the output.'),
    agreementPercent: optional(z.number().min(0).max(100)).describe(
      'Least share of rows whose largest score stands at the same place, in percent.',
    ),
  }).describe(
    'A revision serves only when its model answers what another one answers. It is compared once, before the revision is ready for the first time.',
  );
}
export type ParitySpec = z.output<ReturnType<typeof paritySchema<z.ZodType<string>>>>;
