import type { OutputParity } from '../../contracts/model-tools.ts';
import { isFloat, percent } from '../../contracts/parity-verdict.ts';

/** The rows of a report, one an output; the heads are `PARITY_HEAD`. */
export function parityRow(output: OutputParity): string[] {
  const { name, datatype, agreement } = output;
  const errors = isFloat(output)
    ? [
        brief(output.maxAbsolute),
        brief(output.meanAbsolute),
        percent(output.maxRelative),
        percent(output.meanRelative),
      ]
    : ['–', '–', '–', '–'];
  const agreeing = agreement === undefined ? '–' : `${agreement.agreeing} of ${agreement.of}`;
  return [name, datatype, ...errors, agreeing];
}

export const PARITY_HEAD = ['OUTPUT', 'TYPE', 'MAX ERROR', 'MEAN', 'MAX RELATIVE', 'MEAN', 'AGREE'];

const brief = (value: number): string => (value === 0 ? '0' : value.toPrecision(3));
