import { isKubeError, KubeError } from './kube-error.ts';
import type { KubeObject } from './wire.ts';

/** Objects a page: a few hundred KB of pods, well within the deadline of one call. */
const PAGE_SIZE = 500;

/** A page as the API server sends it. Items of built-in kinds come without apiVersion and kind. */
export interface Page<Type> {
  readonly apiVersion?: string;
  /** E.g. `PodList`. */
  readonly kind?: string;
  readonly metadata?: { readonly resourceVersion?: string; readonly continue?: string };
  readonly items?: readonly Type[] | null;
}

type ReadPage<Type> = (query: { limit?: number; continue?: string }) => Promise<Page<Type>>;

/**
 * All pages as one list. A continue token lives for some minutes; one that is too old has everything read
 * again in one piece, as a second try in pages would hardly be faster.
 *
 * @throws KubeError `malformed` when an answer is not a list.
 */
export async function listPages<Type extends KubeObject>(
  readPage: ReadPage<Type>,
  path: string,
): Promise<{ items: Type[]; resourceVersion: string }> {
  try {
    return await collect(readPage, path, PAGE_SIZE);
  } catch (error) {
    if (!isKubeError(error, 'gone')) throw error;
    return collect(readPage, path, undefined);
  }
}

async function collect<Type extends KubeObject>(
  readPage: ReadPage<Type>,
  path: string,
  limit: number | undefined,
): Promise<{ items: Type[]; resourceVersion: string }> {
  const items: Type[] = [];
  let next: string | undefined;
  for (;;) {
    const page = await readPage({
      ...(limit !== undefined && { limit }),
      ...(next !== undefined && { continue: next }),
    });
    const resourceVersion = page.metadata?.resourceVersion;
    if (resourceVersion === undefined || page.kind?.endsWith('List') !== true) {
      throw new KubeError('malformed', `GET ${path}: expected a list, got ${page.kind ?? 'something else'}`);
    }
    for (const item of page.items ?? []) items.push(named(item, page));
    next = page.metadata?.continue;
    // All pages are of one moment, and so is their resourceVersion.
    if (next === undefined || next === '') return { items, resourceVersion };
  }
}

/** The item with apiVersion and kind, which a watch sends with every object. */
function named<Type extends KubeObject>(item: Type, { apiVersion, kind = '' }: Page<Type>): Type {
  if (item.kind !== undefined && item.apiVersion !== undefined) return item;
  return {
    ...(apiVersion !== undefined && { apiVersion }),
    kind: kind.slice(0, -'List'.length),
    ...item,
  };
}
