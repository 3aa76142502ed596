import type { z } from 'zod';
import { describeValue, LEAVE_IT_OUT, type Refusal } from './fields.ts';
import { suggest } from './suggest.ts';

export type PathSegment = string | number;

/** One thing that is wrong with a document, or, as a warning, one thing that has no effect. */
export interface Problem {
  /** The field, as in `spec.predictor.containers[0].image`; empty for the document as a whole. */
  path: string;
  segments: PathSegment[];
  message: string;
}

/** Problems beyond this number are left out: the first ones tell what is wrong. */
const MAX_PROBLEMS = 50;

/** Writes a path in Kubernetes' manner; a name that is not an identifier is quoted in brackets. */
export function formatPath(segments: readonly PathSegment[]): string {
  let path = '';
  for (const segment of segments) {
    if (typeof segment === 'number') path += `[${segment}]`;
    else if (/^[A-Za-z_$][-\w$]*$/.test(segment)) path += path === '' ? segment : `.${segment}`;
    else path += `[${JSON.stringify(segment)}]`;
  }
  return path;
}

export function problemAt(segments: readonly PathSegment[], message: string): Problem {
  return { path: formatPath(segments), segments: [...segments], message };
}

/** Full paths at which a field of this name is known, for one that stands in the wrong place. */
export type PlacesOf = (fieldName: string) => readonly string[];

/**
 * Words zod's issues as problems: what was expected, what came, what to do. `secret` keeps values out of the
 * messages (for documents that hold credentials).
 */
export function toProblems(
  issues: readonly z.core.$ZodIssue[],
  options: { placesOf?: PlacesOf; secret?: boolean } = {},
): Problem[] {
  return issues.slice(0, MAX_PROBLEMS).map((issue) => {
    const segments = issue.path.map((segment) => (typeof segment === 'number' ? segment : String(segment)));
    return problemAt(segments, messageOf(issue, segments, options));
  });
}

function messageOf(
  issue: z.core.$ZodIssue,
  segments: PathSegment[],
  options: { placesOf?: PlacesOf; secret?: boolean },
): string {
  const came = options.secret === true ? typeName(issue.input) : describeValue(issue.input);
  switch (issue.code) {
    case 'invalid_type': {
      const expected = EXPECTED[issue.expected] ?? issue.expected;
      if (issue.input === undefined) return `required: expected ${expected}`;
      const isScalar = typeof issue.input === 'number' || typeof issue.input === 'boolean';
      const quote = issue.expected === 'string' && isScalar ? '; put it in quotes' : '';
      return `expected ${expected}, got ${came}${quote}`;
    }
    case 'too_big':
      return `expected ${bound('at most', 'less than', issue.inclusive)} ${issue.maximum}${unitOf(issue.origin)}${cameIfNumber(issue)}`;
    case 'too_small':
      return `expected ${bound('at least', 'more than', issue.inclusive)} ${issue.minimum}${unitOf(issue.origin)}${cameIfNumber(issue)}`;
    case 'invalid_value': {
      if (issue.input === undefined) return `required: expected ${issue.values.map(quoted).join(' or ')}`;
      const values = issue.values.map(String);
      const near = typeof issue.input === 'string' ? suggest(issue.input, values) : undefined;
      const hint = near === undefined || values.length === 1 ? '' : `; did you mean "${near}"?`;
      return `expected ${issue.values.map(quoted).join(' or ')}, got ${came}${hint}`;
    }
    case 'invalid_format':
      return `${issue.message}, got ${came}`;
    case 'custom':
      return refusalMessage(issue.params as Refusal | undefined, segments, options.placesOf) ?? issue.message;
    case 'invalid_key':
      return `expected a shorter name: ${issue.issues[0]?.message ?? issue.message}`;
    case 'invalid_element':
    case 'invalid_union':
    case 'not_multiple_of':
    case 'unrecognized_keys':
      return issue.message;
  }
}

const EXPECTED: Record<string, string> = {
  string: 'text',
  number: 'a number',
  int: 'a whole number',
  boolean: 'true or false',
  object: 'a mapping',
  record: 'a mapping',
  array: 'a list',
};

function bound(inclusive: string, exclusive: string, isInclusive: boolean | undefined): string {
  return isInclusive === false ? exclusive : inclusive;
}

function unitOf(origin: string): string {
  if (origin === 'string') return ' characters';
  return origin === 'array' ? ' entries' : '';
}

function cameIfNumber(issue: { input?: unknown }): string {
  if (typeof issue.input === 'number') return `, got ${issue.input}`;
  if (typeof issue.input === 'string' || Array.isArray(issue.input)) return `, got ${issue.input.length}`;
  return '';
}

function quoted(value: unknown): string {
  return typeof value === 'string' ? `"${value}"` : String(value);
}

function typeName(value: unknown): string {
  if (value === null || Array.isArray(value) || typeof value === 'object') return describeValue(value);
  return value === undefined ? 'nothing' : `a ${typeof value}`;
}

function refusalMessage(
  refusal: Refusal | undefined,
  segments: PathSegment[],
  placesOf: PlacesOf | undefined,
): string | undefined {
  switch (refusal?.refusal) {
    case 'message':
      return refusal.message;
    case 'not-supported-yet': {
      const value = refusal.value === undefined ? '' : ` ${refusal.value}`;
      const instead = refusal.instead === undefined ? '' : ` (${refusal.instead})`;
      const advice = refusal.instead === undefined ? `; ${LEAVE_IT_OUT}` : '';
      return `not supported yet: ${formatPath(segments)}${value}${instead}${advice}`;
    }
    case 'unknown-field':
      return `unknown field${unknownFieldHint(String(segments.at(-1)), refusal.known, placesOf)}`;
    case undefined:
      return undefined;
  }
}

function unknownFieldHint(name: string, known: readonly string[], placesOf: PlacesOf | undefined): string {
  const near = suggest(name, known);
  if (near !== undefined) return `; did you mean "${near}"?`;
  const places = placesOf?.(name) ?? [];
  return places.length === 0 || places.length > 2 ? '' : `; did you mean ${places.join(' or ')}?`;
}
