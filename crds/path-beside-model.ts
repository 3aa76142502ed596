import type { z } from 'zod';
import { refuse, text } from './fields.ts';

const SEGMENTS = '[A-Za-z0-9_][-A-Za-z0-9_./]*';

/**
 * The path of a file beside the model. Everything that leads elsewhere is refused here and by the API server.
 *
 * @param what it is, for the message: "file", "module".
 * @param ending a regular expression for what it ends with.
 */
export function pathBesideModel(what: string, ending: string, example: string): z.ZodType<string> {
  const pattern = `^${SEGMENTS}${ending}$`;
  const expected = `expected a path of a ${what} in the model's folder, such as "${example}"`;
  return text(253)
    .superRefine((path, context) => {
      const isPlain = path.split('/').every((segment) => !['', '.', '..'].includes(segment));
      if (isPlain && !path.includes('..') && new RegExp(pattern).test(path)) return;
      refuse(context, { refusal: 'message', message: `${expected}, got "${path.slice(0, 80)}"` });
    })
    .meta({
      'x-kubernetes-validations': [
        {
          rule: `self.matches('${pattern}') && !self.contains('..') && !self.contains('//')`,
          message: expected,
        },
      ],
    });
}
