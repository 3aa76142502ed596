import { Buffer } from 'node:buffer';
import type { TransformParameters } from '../../contracts/transform.ts';
import { kindOf, takeTensors } from './given-tensors.ts';
import { shown, type Tensor } from './tensor.ts';

export interface TakenInputs {
  readonly kind: 'inputs';
  readonly inputs: readonly Tensor[];
  readonly state: unknown;
}

export type TakenAnswer =
  | {
      readonly kind: 'outputs';
      readonly outputs: readonly Tensor[];
      readonly parameters: TransformParameters;
    }
  | {
      readonly kind: 'body';
      readonly body: Uint8Array;
      readonly contentType: string;
      readonly status: number;
    };

/** What `preprocess` gave. @throws Error that says what was expected and what came. */
export function takePreprocessed(given: unknown): TakenInputs {
  const { inputs, state } = fieldsOf(given, 'preprocess', ['inputs', 'state']);
  return { kind: 'inputs', inputs: takeTensors(inputs, 'preprocess: inputs'), state };
}

/** What `postprocess` gave. @throws Error that says what was expected and what came. */
export function takePostprocessed(given: unknown): TakenAnswer {
  const where = 'postprocess';
  const known = ['outputs', 'parameters', 'body', 'contentType', 'status'];
  const { outputs, parameters, body, contentType, status } = fieldsOf(given, where, known);
  if ((outputs === undefined) === (body === undefined)) {
    throw new Error(
      `${where}: expected either outputs or body, got ${outputs === undefined ? 'neither' : 'both'}`,
    );
  }
  if (outputs !== undefined) {
    return {
      kind: 'outputs',
      outputs: takeTensors(outputs, `${where}: outputs`),
      parameters: takeParameters(parameters, `${where}: parameters`),
    };
  }
  const { bytes, usualType } = takeBody(body);
  return {
    kind: 'body',
    body: bytes,
    contentType: takeContentType(contentType) ?? usualType,
    status: takeStatus(status),
  };
}

function fieldsOf<Name extends string>(
  given: unknown,
  where: string,
  known: readonly Name[],
): Partial<Record<Name, unknown>> {
  if (typeof given !== 'object' || given === null || Array.isArray(given) || ArrayBuffer.isView(given)) {
    throw new Error(`${where}: expected an object with ${known.join(', ')}, got ${kindOf(given)}`);
  }
  const unknown = Object.keys(given).find((key) => !(known as readonly string[]).includes(key));
  if (unknown !== undefined) {
    throw new Error(`${where}: expected an object with ${known.join(', ')}, got '${shown(unknown)}' as well`);
  }
  return given;
}

const MAX_PARAMETERS = 1024;

function takeParameters(given: unknown, where: string): TransformParameters {
  const taken = Object.create(null) as Record<string, string | number | bigint | boolean>;
  if (given === undefined) return taken;
  if (typeof given !== 'object' || given === null)
    throw new Error(`${where}: expected an object, got ${kindOf(given)}`);
  const entries = Object.entries(given);
  if (entries.length > MAX_PARAMETERS)
    throw new Error(`${where}: expected at most ${MAX_PARAMETERS}, got ${entries.length}`);
  for (const [key, value] of entries) {
    const isFine =
      typeof value === 'string' ||
      typeof value === 'boolean' ||
      typeof value === 'bigint' ||
      Number.isFinite(value);
    if (!isFine)
      throw new Error(
        `${where}: '${shown(key)}': expected text, a number or a boolean, got ${kindOf(value)}`,
      );
    taken[key] = value as string | number | bigint | boolean;
  }
  return taken;
}

function takeBody(body: unknown): { bytes: Uint8Array; usualType: string } {
  if (typeof body === 'string') return { bytes: Buffer.from(body), usualType: 'text/plain; charset=utf-8' };
  if (body instanceof Uint8Array) return { bytes: body, usualType: 'application/octet-stream' };
  let json: string | undefined;
  try {
    json = JSON.stringify(body) as string | undefined;
  } catch (error) {
    throw new Error(
      `postprocess: body can't be written as JSON: ${error instanceof Error ? error.message : String(error)}`,
      {
        cause: error,
      },
    );
  }
  if (json === undefined)
    throw new Error(`postprocess: body can't be written as JSON, it is ${kindOf(body)}`);
  return { bytes: Buffer.from(json), usualType: 'application/json' };
}

const CONTENT_TYPE =
  /^[\w!#$&^.+-]{1,100}\/[\w!#$&^.+-]{1,100}(?:; ?[\w!#$&^.+-]{1,50}=[\w!#$&^.+-]{1,100}){0,4}$/;

function takeContentType(given: unknown): string | undefined {
  if (given === undefined) return undefined;
  if (typeof given === 'string' && CONTENT_TYPE.test(given)) return given;
  const came = typeof given === 'string' ? `'${shown(given)}'` : kindOf(given);
  throw new Error(`postprocess: contentType: expected a type such as 'text/plain', got ${came}`);
}

function takeStatus(given: unknown): number {
  if (given === undefined) return 200;
  if (typeof given === 'number' && Number.isInteger(given) && given >= 200 && given <= 599) return given;
  throw new Error(
    `postprocess: status: expected a whole number from 200 to 599, got ${typeof given === 'number' ? given : kindOf(given)}`,
  );
}

/** A body of V1 or of no protocol's own goes to `preprocess` as it is; JSON and binary tensors are decoded. */
const DECODED_TYPES: ReadonlySet<string> = new Set([
  'application/json',
  'application/octet-stream',
  // What curl says of any --data that isn't told otherwise.
  'application/x-www-form-urlencoded',
]);

/** `Text/Plain; charset=utf-8` → `text/plain`; undefined for none. */
export function mediaType(header: string | undefined): string | undefined {
  const type = header?.split(';', 1)[0]?.trim().toLowerCase();
  return type === '' ? undefined : type;
}

/** Whether a body of V2 is no inference request of ours, but something that only the service itself can read. */
export function isRawBody(type: string | undefined, rawContentTypes: readonly string[]): boolean {
  if (type === undefined) return false;
  return rawContentTypes.includes(type) || !(DECODED_TYPES.has(type) || type.endsWith('+json'));
}

/** Headers for a module: those that could let it act as the caller stay here, as do those between our own programs. */
export function headersForModule(
  headers: Readonly<Record<string, string | string[] | undefined>>,
): Record<string, string> {
  const shownHeaders: Record<string, string> = {};
  for (const [name, value] of Object.entries(headers)) {
    if (value === undefined || HIDDEN.test(name)) continue;
    shownHeaders[name] = Array.isArray(value) ? value.join(', ') : value;
  }
  return shownHeaders;
}

const HIDDEN = /^(?::|authorization$|proxy-authorization$|cookie$|x-api-key$|pilotlight-)/;
