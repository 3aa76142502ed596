import { type Document, isAlias, isMap, isScalar, isSeq, LineCounter, type Node, parseDocument } from 'yaml';
import type { PathSegment } from './problems.ts';

interface Position {
  /** Both count from 1. */
  line: number;
  column: number;
}

interface SyntaxProblem extends Position {
  message: string;
}

/** One document of a file: its value with a way to find fields in the text, or why it can't be read. */
export type YamlDocument = { line: number } & (
  | { state: 'read'; value: unknown; positionOf: (segments: readonly PathSegment[]) => Position }
  | { state: 'unreadable'; problems: SyntaxProblem[] }
);

/** Aliases whose expansion multiplies the document beyond this are refused; manifests use a handful. */
const MAX_ALIASES = 100;
/** Deepest nesting of brackets and list dashes that is handed to the parser, which recurses. */
const MAX_FLOW_DEPTH = 200;
const MAX_SYNTAX_PROBLEMS = 10;

/**
 * Reads the documents of a YAML (or JSON, which is YAML) text one by one, split where kubectl splits them: at
 * lines that begin with `---`. A document that can't be read leaves the others alone. Empty ones are left out.
 * More than `maxDocuments` are not read at all: only their number comes back.
 */
export function readYamlDocuments(text: string, maxDocuments: number): YamlDocument[] | number {
  const chunks = splitDocuments(text);
  if (chunks.length > maxDocuments) return chunks.length;
  return chunks.map(({ chunk, firstLine }) => readDocument(chunk, firstLine));
}

function splitDocuments(text: string): { chunk: string; firstLine: number }[] {
  const documents: { lines: string[]; firstLine: number }[] = [{ lines: [], firstLine: 1 }];
  for (const [index, line] of text
    .replace(/^\u{FEFF}/u, '')
    .split('\n')
    .entries()) {
    if (/^---(\s|$)/.test(line)) documents.push({ lines: [line], firstLine: index + 1 });
    else documents.at(-1)?.lines.push(line);
  }
  return documents
    .filter(({ lines }) =>
      lines.some((line) => !/^(---|\.\.\.)?\s*(#.*)?$/.test(line) && !line.startsWith('%')),
    )
    .map(({ lines, firstLine }) => ({ chunk: lines.join('\n'), firstLine }));
}

function readDocument(chunk: string, firstLine: number): YamlDocument {
  const lineCounter = new LineCounter();
  const locate = (offset: number): Position => {
    const { line, col } = lineCounter.linePos(offset);
    return { line: Math.max(1, line) + firstLine - 1, column: Math.max(1, col) };
  };
  const failed = (message: string, position?: Position): YamlDocument => ({
    state: 'unreadable',
    line: firstLine,
    problems: [{ ...(position ?? { line: firstLine, column: 1 }), message }],
  });
  const deep = tooDeepAt(chunk);
  if (deep !== undefined) {
    const position = { line: deep.line + firstLine - 1, column: deep.column };
    return failed(`expected at most ${MAX_FLOW_DEPTH} levels of nesting`, position);
  }
  let document: Document.Parsed;
  let value: unknown;
  try {
    document = parseDocument(chunk, { lineCounter, prettyErrors: false, merge: true, logLevel: 'silent' });
    const broken = [...document.errors, ...document.warnings];
    if (broken.length > 0) {
      return {
        state: 'unreadable',
        line: firstLine,
        problems: broken
          .slice(0, MAX_SYNTAX_PROBLEMS)
          .map((error) => ({ ...locate(error.pos[0]), message: `not valid YAML: ${error.message}` })),
      };
    }
    value = document.toJS({ maxAliasCount: MAX_ALIASES });
  } catch (error) {
    // The composer throws a ReferenceError for aliases (unknown, or an expansion bomb) and a RangeError when
    // nesting exhausts its stack.
    return failed(`not valid YAML: ${error instanceof Error ? error.message : String(error)}`);
  }
  const start = document.contents === null ? firstLine : locate(document.contents.range[0]).line;
  return {
    state: 'read',
    line: start,
    value,
    positionOf: (segments) => locate(offsetOf(document, segments)),
  };
}

/** Where a field begins: its key, its list entry, or the nearest thing around it that the text has. */
function offsetOf(document: Document.Parsed, segments: readonly PathSegment[]): number {
  let node: Node | null | undefined = document.contents;
  let offset = node?.range?.[0] ?? 0;
  for (const segment of segments) {
    if (isAlias(node)) node = node.resolve(document);
    if (isMap(node)) {
      const pair = node.items.find(
        (item) => isScalar(item.key) && String(item.key.value) === String(segment),
      );
      if (pair === undefined) break;
      if (isScalar(pair.key)) offset = pair.key.range?.[0] ?? offset;
      node = pair.value as Node | null;
    } else if (isSeq(node)) {
      const item: unknown = typeof segment === 'number' ? node.items[segment] : undefined;
      if (item === undefined || item === null) break;
      node = item as Node;
      offset = node.range?.[0] ?? offset;
    } else break;
  }
  return offset;
}

/**
 * The first place that opens more brackets, or stacks more dashes at the beginning of one line, than the parser may recurse
 * into. Brackets within strings count too: harmless, since only hundreds in a row without their ends matter.
 */
function tooDeepAt(chunk: string): Position | undefined {
  let line = 1;
  let lineStart = 0;
  let depth = 0;
  let dashes = 0;
  let isIndentation = true;
  for (let index = 0; index < chunk.length; index++) {
    const character = chunk[index];
    if (character === '\n') {
      line += 1;
      lineStart = index + 1;
      dashes = 0;
      isIndentation = true;
    } else if (character === '[' || character === '{') depth += 1;
    else if (character === ']' || character === '}') depth = Math.max(0, depth - 1);
    if (isIndentation && (character === '-' || character === '?')) dashes += 1;
    else if (character !== ' ' && character !== '\n') isIndentation = false;
    if (depth > MAX_FLOW_DEPTH || dashes > MAX_FLOW_DEPTH) return { line, column: index - lineStart + 1 };
  }
  return undefined;
}
