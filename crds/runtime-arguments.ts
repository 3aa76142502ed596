import type { Parsed } from './durations.ts';

/** More rows in one run than any model gains from. */
export const MAX_BATCH_SIZE = 4_096;

/** What `spec.predictor.model.args` says to the runtime. */
export interface RuntimeArguments {
  /** The name by which OIP and V1 paths call the model; the service's name when absent. */
  modelName?: string;
  /** Sessions of the model in one process. */
  instances?: number;
  /** Threads of each session. */
  threadsPerInstance?: number;
  /** Digest that the model's single file must have, in lower-case hexadecimal. */
  sha256?: string;
}

const NAMES = new Set(['model-name', 'instances', 'threads-per-instance', 'sha256']);
const HELP = 'the runtime takes --model_name, --instances, --threads-per-instance and --sha256';

/**
 * Reads the arguments of a model: `--name=value` or `--name value`; `_` and `-` are the same, because KServe's
 * servers write `--model_name`. An argument that the runtime does not know is refused with its index.
 */
export function parseRuntimeArguments(
  args: readonly string[],
): Parsed<RuntimeArguments> & { index?: number } {
  const parsed: RuntimeArguments = {};
  for (let index = 0; index < args.length; index++) {
    const start = index;
    const [, name = '', inline] = /^--([a-zA-Z][-_a-zA-Z0-9]*)(?:=(.*))?$/s.exec(args[index] ?? '') ?? [];
    if (name === '')
      return refusal(start, `expected an argument such as "--instances=2", got "${args[index]}"`);
    if (!NAMES.has(name.replaceAll('_', '-'))) return refusal(start, `unknown argument --${name}: ${HELP}`);
    const value = inline ?? args[++index];
    if (value === undefined || value === '') return refusal(start, `expected a value for --${name}`);
    switch (name.replaceAll('_', '-')) {
      case 'model-name':
        if (!/^[A-Za-z0-9][-._A-Za-z0-9]{0,252}$/.test(value)) {
          return refusal(start, `expected a model name of letters, digits, "-", "_" and ".", got "${value}"`);
        }
        parsed.modelName = value;
        break;
      case 'instances':
      case 'threads-per-instance': {
        if (!/^[1-9][0-9]{0,2}$/.test(value)) {
          return refusal(start, `expected --${name} from 1 to 999, got "${value}"`);
        }
        if (name === 'instances') parsed.instances = Number(value);
        else parsed.threadsPerInstance = Number(value);
        break;
      }
      case 'sha256':
        if (!/^[0-9a-fA-F]{64}$/.test(value))
          return refusal(start, 'expected --sha256 with 64 hexadecimal digits');
        parsed.sha256 = value.toLowerCase();
        break;
    }
  }
  return { ok: true, value: parsed };
}

function refusal(index: number, message: string): { ok: false; message: string; index: number } {
  return { ok: false, message, index };
}
