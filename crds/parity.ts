import { z } from 'zod';
import { fields, optional, refuse, text } from './fields.ts';

const SAMPLES_PATH = '^[A-Za-z0-9_][-A-Za-z0-9_./]*[.]jsonl?$';

const samplesPath = text(253)
  .superRefine((path, context) => {
    if (new RegExp(SAMPLES_PATH).test(path) && !path.includes('..') && !path.includes('//')) return;
    const message = `expected a path of a file in the model's folder, such as "samples.jsonl", got "${path.slice(0, 80)}"`;
    refuse(context, { refusal: 'message', message });
  })
  .meta({
    'x-kubernetes-validations': [
      {
        rule: `self.matches('${SAMPLES_PATH}') && !self.contains('..') && !self.contains('//')`,
        message: 'expected a path of a file in the model\'s folder, such as "samples.jsonl"',
      },
    ],
  });

/**
 * @param storageUri the schema of a place of a model.
 * @returns the schema of what a model is compared with before a revision of it serves.
 */
export function paritySchema<Uri extends z.ZodType<string>>(storageUri: Uri) {
  return fields({
    against: storageUri.describe(
      'The model that is right: what a quantised, compiled or canary model is to answer like. The service’s credentials are good for it where it lies in the same store.',
    ),
    samples: optional(samplesPath).describe(
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
