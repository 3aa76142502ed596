import { z } from 'zod';
import { duration, fields, optional, quantity } from './fields.ts';
import { pathBesideModel } from './path-beside-model.ts';

const MEMORY_MIN_BYTES = 32 * 1024 ** 2;
const MEMORY_MAX_BYTES = 64 * 1024 ** 3;

export const transformSchema = fields({
  module: pathBesideModel('module', '[.]m?js', 'transform.mjs').describe(
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
