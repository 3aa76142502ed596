import { PilotlightError } from '../../contracts/errors.ts';

/**
 * What ONNX Runtime says when it can't create a session, as an error that names the cause. Its messages (1.30)
 * carry no code and begin with its own source paths and the path of the file on this machine; both are left out.
 */
export function loadError(ortMessage: string): PilotlightError {
  const text = readable(ortMessage);
  const operator = unsupportedOperator(text);
  if (operator !== undefined) return new PilotlightError('model-unsupported-operator', operator);
  for (const [pattern, code, explanation] of CAUSES) {
    if (pattern.test(text)) return new PilotlightError(code, `${explanation}: ${text}`);
  }
  return new PilotlightError('model-invalid', `ONNX Runtime refused the model: ${text}`);
}

/** An out-of-memory error with the advice that goes with it. */
export function memoryError(message: string, cause?: unknown): PilotlightError {
  return new PilotlightError(
    'model-out-of-memory',
    `${message}; raise the memory limit, lower the number of instances or use a smaller model`,
    { cause },
  );
}

type LoadCode =
  | 'model-not-found'
  | 'model-forbidden'
  | 'model-not-onnx'
  | 'model-out-of-memory'
  | 'model-unsupported-operator'
  | 'model-invalid';

/** In order: the first that fits is taken. */
const CAUSES: readonly (readonly [RegExp, LoadCode, string])[] = [
  [/bad_alloc|Failed to allocate memory|out of memory/i, 'model-out-of-memory', 'not enough memory'],
  [
    /errcode = 13|system error number 13|permission denied/i,
    'model-forbidden',
    'no permission to read the model',
  ],
  [
    /External data path does not exist/i,
    'model-not-found',
    'a file with the weights of the model is missing',
  ],
  [/file doesn't exist|errcode = 2\b|no such file/i, 'model-not-found', 'the model file is missing'],
  [
    /External initializer.*(out of bounds|can not be read in full)/is,
    'model-invalid',
    'a file with the weights of the model is shorter than the model says',
  ],
  [
    /protobuf parsing failed|INVALID_PROTOBUF|does not have a graph|is a directory/i,
    'model-not-onnx',
    'not an ONNX file, or one that was cut short',
  ],
  [
    /Unsupported model IR version|Opset \d+ is under development|is till opset/i,
    'model-unsupported-operator',
    'the model was written for a newer ONNX than this runtime (ONNX Runtime 1.30) knows; export it with an older opset',
  ],
  [
    /^Unsupported data type/i,
    'model-invalid',
    'an input or output has a datatype that the inference protocol cannot carry (ONNX numbers: 16 is bfloat16)',
  ],
];

/** Names operator and domain where the message does, in any of ONNX Runtime's three ways to say it. */
function unsupportedOperator(text: string): string | undefined {
  const unregistered = /([\w.-]*):?\b([\w.]+)\(-?\d+\) is not a registered function\/op/.exec(text);
  if (unregistered !== null) return operatorMessage(unregistered[2], unregistered[1]);
  const unknown = /No Op registered for (\S+) with domain_version of (\d+)/.exec(text);
  if (unknown !== null) return operatorMessage(unknown[1], '', unknown[2]);
  const unimplemented = /Could not find an implementation for (?:([\w.-]+)[.:])?([\w]+)\((\d+)\)/.exec(text);
  if (unimplemented !== null) return operatorMessage(unimplemented[2], unimplemented[1], unimplemented[3]);
  return undefined;
}

function operatorMessage(operator = '?', domain = '', version?: string): string {
  const of = domain === '' || domain === 'ai.onnx' ? "the standard domain 'ai.onnx'" : `domain '${domain}'`;
  const opset = version === undefined ? '' : `, opset ${version}`;
  return `operator '${operator}' of ${of}${opset} is not supported by this runtime (ONNX Runtime 1.30, CPU); export the model without it`;
}

const LONGEST_MESSAGE = 600;

function readable(message: string): string {
  const text = message
    .replace(/^Load model from .* failed:/, '')
    .replace(/Load model \S+ failed\. /, '')
    // C++ source position and the signature of the function that threw.
    .replace(/\/onnxruntime_src\/\S+ .*?\) (?=[A-Z])/gs, '')
    .replace(/\b\w+\.cc:\d+ /g, '')
    .replace(/"?(?:\/[^\s"/]+)+\/([^\s"/]+)"?/g, '$1')
    .replace(/\s+/g, ' ')
    .trim();
  return text.length > LONGEST_MESSAGE ? `${text.slice(0, LONGEST_MESSAGE)}…` : text;
}
