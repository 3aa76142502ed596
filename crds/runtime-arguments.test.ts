import { describe, expect, it } from 'vitest';
import { parseRuntimeArguments } from './runtime-arguments.ts';

describe('the arguments of a model', () => {
  it('are read with "=" or as two words, with "-" or "_"', () => {
    const digest = 'AB'.repeat(32);
    expect(
      parseRuntimeArguments([
        '--model_name=digits',
        '--instances',
        '2',
        '--threads_per_instance=4',
        `--sha256=${digest}`,
      ]),
    ).toEqual({
      ok: true,
      value: { modelName: 'digits', instances: 2, threadsPerInstance: 4, sha256: digest.toLowerCase() },
    });
  });

  it.each([
    [['--instances=2', '--speed=9'], 1, 'unknown argument --speed'],
    [['--instances=0'], 0, 'from 1 to 999'],
    [['--instances'], 0, 'a value for --instances'],
    [['--model-name=../etc'], 0, 'expected a model name'],
    [['--sha256=12'], 0, '64 hexadecimal digits'],
    [['loose'], 0, 'such as "--instances=2"'],
  ])('%j is refused at its index', (args, index, message) => {
    expect(parseRuntimeArguments(args)).toMatchObject({
      ok: false,
      index,
      message: expect.stringContaining(message),
    });
  });
});
