import { z } from 'zod';
import { duration, fields, optional, quantity, refuse, text } from './fields.ts';

/** Text that names a file beside the model. Everything that leads elsewhere is refused here and by the API server. */
const BESIDE_THE_MODEL = /^(?!.*(?:^|\/)\.\.?(?:\/|$))[A-Za-z0-9_][-A-Za-z0-9_./]*$/;

const modulePath = text(253)
  .superRefine((path, context) => {
    if (BESIDE_THE_MODEL.test(path) && /\.m?js$/.test(path) && !path.includes('//')) return;
    const message = `expected a path of a module in the model's folder, such as "transform.mjs", got "${path.slice(0, 80)}"`;
    refuse(context, { refusal: 'message', message });
  })
  .meta({
    'x-kubernetes-validations': [
      {
        rule: "self.matches('^[A-Za-z0-9_][-A-Za-z0-9_./]*[.]m?js$') && !self.contains('..') && !self.contains('//')",
        message: 'expected a path of a module in the model\'s folder, such as "transform.mjs"',
      },
    ],
  });

const MEMORY_MIN_BYTES = 32 * 1024 ** 2;
const MEMORY_MAX_BYTES = 64 * 1024 ** 3;

export const transformSchema = fields({
  module: modulePath.describe(
    'Module in the model’s folder that exports preprocess(request), postprocess(response) or both.',
  ),
  sha256: optional(
    z
      .string()
      .regex(/^[0-9a-fA-F]{64}$/, 'expected 64 hexadecimal digits')
      .describe('Digest that the module must have.'),
  ),
  timeout: duration({ min: '1ms', max: '1h' })
    .prefault('5s')
    .describe('Longest time that one call of one hook may take.'),
  memory: quantity()
    .prefault('256Mi')
    .refine((bytes) => bytes >= MEMORY_MIN_BYTES && bytes <= MEMORY_MAX_BYTES, 'expected 32Mi to 64Gi')
    .describe('Largest JavaScript heap of its thread, from 32Mi.'),
}).describe(
  'Code of the service’s own before and after the model. Off unless the operator allows it for the namespace.',
);
export type TransformSpec = z.output<typeof transformSchema>;
