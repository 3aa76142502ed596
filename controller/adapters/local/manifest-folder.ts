import { type FSWatcher, readdirSync, watch } from 'node:fs';
import { join } from 'node:path';
import { claimOf } from '../../../crds/claims.ts';
import type { ConfigObject } from '../../../crds/config-objects.ts';
import { formatProblem, type ManifestDocument, readManifest } from '../../../crds/manifest.ts';
import { referenceObjects, resolveReferences } from '../../../crds/references.ts';
import type { Logger } from '../../../process/logger.ts';
import { type TransformNamespaces, transformProblem } from '../../core/user-code.ts';
import type { Scan, ScannedProblem, ScannedService } from './service-diff.ts';

/** Editors write a file in several steps; what is seen in between is no manifest. */
const SETTLE_MS = 60;
/** Network folders and some container mounts tell of no changes: they are looked at now and then. */
const RESCAN_INTERVAL_MS = 5_000;
const MANIFEST_FILE = /^[^.].*\.(ya?ml|json)$/;

/**
 * Reads all manifests of a folder (not of folders in it, as `kubectl apply -f` does) and resolves what the
 * services refer to: ConfigMaps, Secrets and ServiceAccounts of any file of the folder.
 */
async function scanFolder(
  folder: string,
  allowTransforms: TransformNamespaces,
): Promise<{ scan: Scan; notices: readonly string[] }> {
  const files = readdirSync(folder)
    .filter((name) => MANIFEST_FILE.test(name))
    .sort();
  const documents: ManifestDocument[] = [];
  const warnings = new Map<string, string[]>();
  for (const name of files) {
    const file = join(folder, name);
    const manifest = await readManifest(file, { forLocalPlatform: true });
    documents.push(...manifest.documents);
    for (const warning of manifest.warnings) {
      const key = `${file}#${warning.documentIndex}`;
      warnings.set(key, [...(warnings.get(key) ?? []), formatProblem(file, warning)]);
    }
  }
  const objects = documents.flatMap(configObject);
  const services: ScannedService[] = [];
  const problems: ScannedProblem[] = [];
  for (const document of documents) {
    const { file, line, documentIndex } = document.source;
    if (document.state === 'invalid') {
      problems.push(problemOf(document));
      continue;
    }
    if (document.kind !== 'InferenceService') continue;
    const { service } = document;
    const { namespace, name } = service.metadata;
    const code = transformProblem(service, allowTransforms, '--allow-transforms of pilotlight serve');
    if (code !== undefined) {
      problems.push({ file, namespace, name, messages: [`${file}:${line}: ${code.path}: ${code.message}`] });
      continue;
    }
    const references = resolveReferences(service, referenceObjects(namespace, objects));
    if (!references.ok) {
      const messages = references.problems.map(({ path, message }) => `${file}:${line}: ${path}: ${message}`);
      problems.push({ file, namespace, name, messages });
      continue;
    }
    const { env, storage } = references.value;
    const { storageUri } = service.spec.predictor.model ?? {};
    if (claimOf(storageUri) !== undefined) {
      const message = `a claim is mounted in a cluster only; here give the folder as file:, got "${storageUri}"`;
      const path = 'spec.predictor.model.storageUri';
      problems.push({ file, namespace, name, messages: [`${file}:${line}: ${path}: ${message}`] });
      continue;
    }
    services.push({
      file,
      line,
      service,
      env,
      ...(storage && { modelUri: storage.uri }),
      ...(storage?.access && { access: storage.access }),
      warnings: warnings.get(`${file}#${documentIndex}`) ?? [],
    });
    // Those of a service stand in its status; what is left is of documents that have none.
    warnings.delete(`${file}#${documentIndex}`);
  }
  return { scan: { services, problems }, notices: [...warnings.values()].flat() };
}

function configObject(document: ManifestDocument): ConfigObject[] {
  if (document.state === 'invalid') return [];
  switch (document.kind) {
    case 'ConfigMap':
      return [document.configMap];
    case 'Secret':
      return [document.secret];
    case 'ServiceAccount':
      return [document.serviceAccount];
    case 'InferenceService':
    case 'StandbyPool':
      return [];
  }
}

function problemOf(document: ManifestDocument & { state: 'invalid' }): ScannedProblem {
  const { file } = document.source;
  const messages = document.problems.map((problem) => formatProblem(file, problem));
  const isService = document.kind === undefined || document.kind === 'InferenceService';
  if (!isService || document.name === undefined) return { file, messages };
  return { file, namespace: document.namespace ?? 'default', name: document.name, messages };
}

/**
 * Watches the folder: `onScan` is called with a first scan before this resolves, and again after each change,
 * one call at a time.
 *
 * @throws Error when the folder can't be read.
 */
export async function watchFolder(
  folder: string,
  allowTransforms: TransformNamespaces,
  logger: Logger,
  onScan: (scan: Scan) => void,
): Promise<{ close(): void }> {
  let closed = false;
  let running = false;
  let again = false;
  let timer: NodeJS.Timeout | undefined;
  let noticed: ReadonlySet<string> = new Set();
  const take = ({ scan: found, notices }: Awaited<ReturnType<typeof scanFolder>>): void => {
    for (const notice of notices) {
      if (!noticed.has(notice)) logger.warn({ notice }, 'a document of a manifest has no effect');
    }
    noticed = new Set(notices);
    onScan(found);
  };
  const scan = async (): Promise<void> => {
    if (running) {
      again = true;
      return;
    }
    running = true;
    try {
      const result = await scanFolder(folder, allowTransforms);
      if (!closed) take(result);
    } catch (error) {
      // A folder that is gone for a moment deletes no service; it is looked at again.
      logger.error({ folder, err: error }, 'the manifest folder could not be read');
    }
    running = false;
    if (again && !closed) {
      again = false;
      await scan();
    }
  };
  const soon = (): void => {
    clearTimeout(timer);
    timer = setTimeout(() => void scan(), SETTLE_MS);
  };
  take(await scanFolder(folder, allowTransforms));
  const watcher: FSWatcher = watch(folder, soon);
  watcher.on('error', (error) =>
    logger.warn({ folder, err: error }, 'the manifest folder can not be watched'),
  );
  const rescan = setInterval(() => void scan(), RESCAN_INTERVAL_MS);
  return {
    close: () => {
      closed = true;
      clearTimeout(timer);
      clearInterval(rescan);
      watcher.close();
    },
  };
}
