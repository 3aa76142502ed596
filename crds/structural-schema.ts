import { LEAVE_IT_OUT, META_REFUSED } from './fields.ts';

/** A node of a Kubernetes structural schema, as far as it is built here. */
export type StructuralSchema = Record<string, unknown>;

/** A CEL rule with what is said when it doesn't hold, as the API server takes it. */
export interface Validation {
  rule: string;
  message: string;
  /** CEL for a message with the value in it; `message` stands in where that fails. */
  messageExpression?: string;
  /** Relative path of the field that is to be blamed, where it isn't the node itself. */
  fieldPath?: string;
  reason?: 'FieldValueInvalid' | 'FieldValueForbidden';
}

/** Keywords of JSON Schema that a structural schema may hold and that mean the same there. */
const KEPT = [
  'description',
  'type',
  'format',
  'default',
  'enum',
  'pattern',
  'minLength',
  'maxLength',
  'minimum',
  'maximum',
  'exclusiveMinimum',
  'exclusiveMaximum',
  'minItems',
  'maxItems',
  'nullable',
  'required',
  'x-kubernetes-int-or-string',
  'x-kubernetes-list-type',
  'x-kubernetes-list-map-keys',
  'x-kubernetes-preserve-unknown-fields',
] as const;

/** zod writes the bounds of safe integers for every whole number; they say nothing to a user. */
const NOISE_BOUNDS = new Set<unknown>([Number.MAX_SAFE_INTEGER, Number.MIN_SAFE_INTEGER]);

const PRESERVE = 'x-kubernetes-preserve-unknown-fields';

/**
 * Turns zod's JSON Schema (OpenAPI 3.0 flavour) into a structural schema: only known keywords, int-or-string
 * in Kubernetes' own way, free objects marked as preserved, and a CEL rule with the field's full path for each
 * field that is declared only to be refused. Throws on anything that the API server would not accept or not
 * prune as meant, so that a change of the source can't weaken the CRD unnoticed.
 */
export function toStructural(schema: unknown, path: string): StructuralSchema {
  if (typeof schema !== 'object' || schema === null) throw new TypeError(`no schema at ${path}`);
  const source = schema as Record<string, unknown>;
  const result: StructuralSchema = {};
  for (const keyword of KEPT) {
    const value = source[keyword];
    if (value === undefined) continue;
    if ((keyword === 'minimum' || keyword === 'maximum') && NOISE_BOUNDS.has(value)) continue;
    result[keyword] = value;
  }
  const validations = [...((source['x-kubernetes-validations'] as Validation[] | undefined) ?? [])];
  const { properties, items, additionalProperties } = source as {
    properties?: Record<string, unknown>;
    items?: unknown;
    additionalProperties?: unknown;
  };
  if (result['x-kubernetes-int-or-string'] === true) {
    delete result['type'];
    result['anyOf'] = [{ type: 'integer' }, { type: 'string' }];
  } else if (properties !== undefined) {
    result['properties'] = Object.fromEntries(
      Object.entries(properties).map(([name, property]) => [
        name,
        { ...refusalDescription(property), ...toStructural(property, `${path}.${name}`) },
      ]),
    );
    validations.push(...refusals(properties, path));
  } else if (items !== undefined) {
    result['items'] = toStructural(items, `${path}[]`);
  } else if (result['type'] === 'object') {
    if (isEmptySchema(additionalProperties) || result[PRESERVE] === true) result[PRESERVE] = true;
    else result['additionalProperties'] = toStructural(additionalProperties, `${path}.*`);
  }
  if (typeof result['type'] !== 'string' && result['x-kubernetes-int-or-string'] !== true) {
    throw new TypeError(`${path} has no type: the API server would drop whatever stands there`);
  }
  if (result['type'] === 'array' && result['items'] === undefined)
    throw new TypeError(`${path} has no items`);
  if (validations.length > 0) result['x-kubernetes-validations'] = validations;
  return result;
}

/** A rule on the parent for each declared field that is refused; on the field itself it could not say "not there". */
function refusals(properties: Record<string, unknown>, path: string): Validation[] {
  return Object.entries(properties).flatMap(([name, property]) => {
    const refusal = (property as Record<string, unknown>)[META_REFUSED];
    if (typeof refusal !== 'string') return [];
    const message =
      refusal === 'not-supported-yet' ? `not supported yet: ${path}.${name}; ${LEAVE_IT_OUT}` : refusal;
    const rule = `!has(self.${celName(name)})`;
    return [{ rule, message, fieldPath: `.${name}`, reason: 'FieldValueForbidden' as const }];
  });
}

/** What `kubectl explain` says of a field that is declared only to be refused. */
function refusalDescription(property: unknown): { description?: string } {
  const refusal = (property as Record<string, unknown>)[META_REFUSED];
  if (typeof refusal !== 'string') return {};
  return {
    description: refusal === 'not-supported-yet' ? 'Refused: not supported yet.' : `Refused: ${refusal}.`,
  };
}

/** CEL's reserved words are written with underscores around them. */
const CEL_RESERVED = new Set([
  'true',
  'false',
  'null',
  'in',
  'as',
  'break',
  'const',
  'continue',
  'else',
  'for',
  'function',
  'if',
  'import',
  'let',
  'loop',
  'package',
  'namespace',
  'return',
  'var',
  'void',
  'while',
]);

function celName(name: string): string {
  if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(name)) throw new TypeError(`${name} can't be named in CEL`);
  return CEL_RESERVED.has(name) ? `__${name}__` : name;
}

function isEmptySchema(schema: unknown): boolean {
  if (schema === undefined || schema === true) return true;
  return typeof schema === 'object' && schema !== null && Object.keys(schema).length === 0;
}
