import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import {
  type ConfigMap,
  isConfigKind,
  parseConfigObject,
  type Secret,
  type ServiceAccount,
} from './config-objects.ts';
import { API_VERSION, type InferenceService, KIND } from './inference-service.ts';
import { formatPath, type PathSegment, type Problem, problemAt } from './problems.ts';
import { parseInferenceService } from './schema.ts';
import { POOL_KIND, parseStandbyPool, type StandbyPool } from './standby-pool.ts';
import { suggest } from './suggest.ts';
import { localPlatformWarnings } from './warnings.ts';
import { readYamlDocuments, type YamlDocument } from './yaml-documents.ts';

/** Largest manifest file; etcd, where it would end up, takes 1.5 MiB. */
export const MAX_MANIFEST_BYTES = 1024 * 1024;
/** Most documents of one file. */
export const MAX_DOCUMENTS = 1_000;

/** Where a document stands. `documentIndex` counts from 0, lines and columns from 1. */
export interface DocumentSource {
  file: string;
  line: number;
  documentIndex: number;
}

export interface LocatedProblem extends Problem {
  documentIndex: number;
  line?: number;
  column?: number;
}

type ValidContent =
  | { kind: 'InferenceService'; service: InferenceService }
  | { kind: 'StandbyPool'; pool: StandbyPool }
  | { kind: 'ConfigMap'; configMap: ConfigMap }
  | { kind: 'Secret'; secret: Secret }
  | { kind: 'ServiceAccount'; serviceAccount: ServiceAccount };

export type ManifestDocument =
  | ({ state: 'valid'; source: DocumentSource } & ValidContent)
  | {
      state: 'invalid';
      source: DocumentSource;
      /** Whose document it is, as far as it can be read: the last good version of that object stays in force. */
      kind?: string;
      namespace?: string;
      name?: string;
      problems: LocatedProblem[];
    };

export interface Manifest {
  documents: ManifestDocument[];
  /** What was accepted and has no effect. */
  warnings: LocatedProblem[];
}

export interface ManifestOptions {
  /** Path of the file, for messages, and to resolve `file:` URIs that are relative to it. */
  file: string;
  /** Also warn of what only a cluster can act on. */
  forLocalPlatform?: boolean;
}

/** Reads and parses a manifest file. A file that can't be read, or is too large, is one invalid document. */
export async function readManifest(
  file: string,
  options: Omit<ManifestOptions, 'file'> = {},
): Promise<Manifest> {
  let text: string;
  try {
    // Not to wait for a writer, as opening a pipe would.
    const handle = await open(file, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      if (!(await handle.stat()).isFile()) return unreadable(file, 'expected a regular file');
      // One byte more than allowed tells a file that is too large, whatever `stat` says of pipes and the like.
      const buffer = Buffer.alloc(MAX_MANIFEST_BYTES + 1);
      let length = 0;
      for (;;) {
        const { bytesRead } = await handle.read(buffer, length, buffer.length - length, null);
        length += bytesRead;
        if (bytesRead === 0 || length === buffer.length) break;
      }
      if (length > MAX_MANIFEST_BYTES) return unreadable(file, tooLarge());
      text = new TextDecoder('utf-8', { fatal: true }).decode(buffer.subarray(0, length));
    } finally {
      await handle.close();
    }
  } catch (error) {
    return unreadable(file, `can't be read: ${error instanceof Error ? error.message : String(error)}`);
  }
  return parseManifest(text, { file, ...options });
}

/**
 * Parses the text of a manifest file, YAML or JSON, with any number of documents. Each document is valid or
 * invalid by itself; a `List` stands for its items.
 */
export function parseManifest(text: string, options: ManifestOptions): Manifest {
  if (Buffer.byteLength(text) > MAX_MANIFEST_BYTES) return unreadable(options.file, tooLarge());
  const manifest: Manifest = { documents: [], warnings: [] };
  const read = readYamlDocuments(text, MAX_DOCUMENTS);
  const entries = typeof read === 'number' ? [] : read.flatMap(itemsOf);
  const count = typeof read === 'number' ? read : entries.length;
  if (count > MAX_DOCUMENTS) {
    return unreadable(options.file, `expected at most ${MAX_DOCUMENTS} documents, got ${count}`);
  }
  const seen = new Map<string, DocumentSource>();
  for (const [documentIndex, entry] of entries.entries())
    addDocument(manifest, entry, documentIndex, seen, options);
  return manifest;
}

/** One problem as a line for a terminal or a log: `file:line:column: path: message`. */
export function formatProblem(file: string, problem: LocatedProblem): string {
  const position = problem.line === undefined ? '' : `:${problem.line}:${problem.column ?? 1}`;
  return `${file}${position}: ${problem.path === '' ? '' : `${problem.path}: `}${problem.message}`;
}

type Entry = YamlDocument & { prefix: PathSegment[] };

/** A document as it is, or, for a `List` as `kubectl get -o yaml` prints it, each of its items. */
function itemsOf(document: YamlDocument): Entry[] {
  if (document.state === 'read') {
    const { kind, items } = asRecord(document.value);
    if (kind === 'List' && Array.isArray(items)) {
      return items.map((value: unknown, index) => ({
        ...document,
        value,
        line: document.positionOf(['items', index]).line,
        prefix: ['items', index],
      }));
    }
  }
  return [{ ...document, prefix: [] }];
}

function addDocument(
  manifest: Manifest,
  entry: Entry,
  documentIndex: number,
  seen: Map<string, DocumentSource>,
  options: ManifestOptions,
): void {
  const source: DocumentSource = { file: options.file, line: entry.line, documentIndex };
  if (entry.state === 'unreadable') {
    const problems = entry.problems.map((problem) => ({ ...problem, path: '', segments: [], documentIndex }));
    manifest.documents.push({ state: 'invalid', source, problems });
    return;
  }
  const located = ({ segments, message }: Problem): LocatedProblem => {
    const full = [...entry.prefix, ...segments];
    return { path: formatPath(full), segments: full, message, documentIndex, ...entry.positionOf(full) };
  };
  const identity = identityOf(entry.value);
  if (identity.kind === 'Namespace') {
    manifest.warnings.push(
      located(problemAt(['kind'], 'a Namespace has no effect here: namespaces exist by being named')),
    );
    return;
  }
  const outcome = parseDocumentValue(identity.kind, entry.value, options);
  const problems = outcome.ok ? duplicateProblems(identity, source, seen) : outcome.problems;
  if (outcome.ok && problems.length === 0) {
    manifest.documents.push({ state: 'valid', source, ...outcome.content });
    manifest.warnings.push(...outcome.warnings.map(located));
  } else {
    manifest.documents.push({ state: 'invalid', source, ...identity, problems: problems.map(located) });
  }
}

type Outcome = { ok: true; content: ValidContent; warnings: Problem[] } | { ok: false; problems: Problem[] };

const LATER_KINDS = new Set(['InferenceGraph', 'ServingRuntime', 'ClusterServingRuntime', 'TrainedModel']);
const KINDS = [KIND, POOL_KIND, 'ConfigMap', 'Secret', 'ServiceAccount'];

function parseDocumentValue(kind: string | undefined, value: unknown, options: ManifestOptions): Outcome {
  if (kind === KIND) {
    const result = parseInferenceService(value);
    if (!result.ok) return result;
    const service = withAbsoluteFileUri(result.service, options.file);
    const local = options.forLocalPlatform === true ? localPlatformWarnings(service) : [];
    return { ok: true, content: { kind: KIND, service }, warnings: [...result.warnings, ...local] };
  }
  if (kind === POOL_KIND) {
    const result = parseStandbyPool(value);
    if (!result.ok) return result;
    const message =
      'a StandbyPool has no effect on the local platform, only in a cluster: "pilotlight serve --standbys" says how many';
    const warnings = options.forLocalPlatform === true ? [problemAt(['kind'], message)] : [];
    return { ok: true, content: { kind: POOL_KIND, pool: result.pool }, warnings };
  }
  if (isConfigKind(kind)) {
    const result = parseConfigObject(kind, value);
    return result.ok ? { ok: true, content: contentOf(result.object), warnings: [] } : result;
  }
  return { ok: false, problems: [kindProblem(kind, value)] };
}

function contentOf(object: ConfigMap | Secret | ServiceAccount): ValidContent {
  switch (object.kind) {
    case 'ConfigMap':
      return { kind: 'ConfigMap', configMap: object };
    case 'Secret':
      return { kind: 'Secret', secret: object };
    case 'ServiceAccount':
      return { kind: 'ServiceAccount', serviceAccount: object };
  }
}

function kindProblem(kind: string | undefined, value: unknown): Problem {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    return problemAt([], 'expected a mapping with apiVersion, kind and metadata');
  }
  if (kind === undefined) {
    return problemAt(['kind'], `required: expected ${KINDS.join(', ')} (apiVersion ${API_VERSION} or v1)`);
  }
  if (LATER_KINDS.has(kind)) return problemAt(['kind'], `not supported yet: kind ${kind}`);
  const near = suggest(kind, KINDS);
  const hint = near === undefined ? '' : `; did you mean "${near}"?`;
  return problemAt(['kind'], `expected ${KINDS.join(', ')}, got ${JSON.stringify(kind.slice(0, 80))}${hint}`);
}

function duplicateProblems(
  identity: Identity,
  source: DocumentSource,
  seen: Map<string, DocumentSource>,
): Problem[] {
  const key = `${identity.kind}/${identity.namespace ?? 'default'}/${identity.name}`;
  const first = seen.get(key);
  if (first === undefined) {
    seen.set(key, source);
    return [];
  }
  const message = `${identity.kind} "${identity.name}" stands already at line ${first.line} of this file`;
  return [problemAt(['metadata', 'name'], message)];
}

interface Identity {
  kind?: string;
  namespace?: string;
  name?: string;
}

function identityOf(value: unknown): Identity {
  const { kind, metadata } = asRecord(value);
  const { name, namespace } = asRecord(metadata);
  return {
    ...(typeof kind === 'string' ? { kind } : {}),
    ...(typeof name === 'string' ? { name } : {}),
    namespace: typeof namespace === 'string' ? namespace : 'default',
  };
}

function asRecord(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
}

/** `file:models/m.onnx` is relative to the manifest, so that a folder of manifests and models can be moved. */
function withAbsoluteFileUri(service: InferenceService, file: string): InferenceService {
  const { model } = service.spec.predictor;
  if (model === undefined) return service;
  const { storageUri, parity } = model;
  const absolute = {
    ...model,
    ...(storageUri !== undefined && { storageUri: absoluteFileUri(storageUri, file) }),
    ...(parity !== undefined && { parity: { ...parity, against: absoluteFileUri(parity.against, file) } }),
  };
  return {
    ...service,
    spec: { ...service.spec, predictor: { ...service.spec.predictor, model: absolute } },
  };
}

function absoluteFileUri(uri: string, file: string): string {
  const path = /^file:(?!\/\/)(.+)$/i.exec(uri)?.[1];
  return path === undefined ? uri : pathToFileURL(resolve(dirname(file), path)).href;
}

function tooLarge(): string {
  return `expected a file of at most ${MAX_MANIFEST_BYTES} bytes`;
}

function unreadable(file: string, message: string): Manifest {
  const problem: LocatedProblem = { path: '', segments: [], message, documentIndex: 0 };
  const source: DocumentSource = { file, line: 1, documentIndex: 0 };
  return { documents: [{ state: 'invalid', source, problems: [problem] }], warnings: [] };
}
