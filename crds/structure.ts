import { type PathSegment, type Problem, problemAt } from './problems.ts';

/** Deepest nesting of a document. The deepest path of a pod specification has fewer than 20 levels. */
const MAX_DEPTH = 64;
/** Most values (mappings, lists and scalars) of one document; etcd's 1.5 MiB hold fewer than this in practice. */
const MAX_VALUES = 100_000;

/**
 * The bounds that every document keeps before anything looks into it: depth, number of values, and no key
 * `__proto__`, which would be lost silently in any copy. Undefined when they hold. Walks with a stack of its
 * own, so that no depth of input can overflow the call stack.
 */
export function structureProblem(root: unknown): Problem | undefined {
  const stack: { value: unknown; segments: PathSegment[] }[] = [{ value: root, segments: [] }];
  let values = 0;
  for (let next = stack.pop(); next !== undefined; next = stack.pop()) {
    const { value, segments } = next;
    values += 1;
    if (values > MAX_VALUES) return problemAt([], `expected at most ${MAX_VALUES} values in one document`);
    if (typeof value !== 'object' || value === null) continue;
    if (segments.length >= MAX_DEPTH) {
      return problemAt(segments.slice(0, 8), `expected at most ${MAX_DEPTH} levels of nesting`);
    }
    const entries: [PathSegment, unknown][] = Array.isArray(value)
      ? [...value.entries()]
      : Object.entries(value);
    for (const [key, child] of entries) {
      const path = [...segments, key];
      if (key === '__proto__') return problemAt(path, 'unknown field');
      stack.push({ value: child, segments: path });
    }
  }
  return undefined;
}
