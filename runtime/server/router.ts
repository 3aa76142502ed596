/** What a request is for. Names are percent-decoded and otherwise as they came: they are compared, never opened. */
export type Route =
  | { kind: 'server-metadata' | 'live' | 'ready' | 'models' | 'all-stats' | 'v1-models' }
  | { kind: 'repository-index' }
  | { kind: 'openapi' }
  | {
      kind: 'model-metadata' | 'model-ready' | 'model-config' | 'model-stats' | 'infer';
      model: string;
      version: string | undefined;
    }
  | { kind: 'v1-model' | 'v1-predict'; model: string; version: undefined };

export type Resolution =
  | Route
  | { kind: 'method-not-allowed'; allow: string }
  | { kind: 'not-found' }
  | { kind: 'bad-encoding' };

/** Shown to a caller who asks for what is not there. */
export const WHAT_EXISTS =
  'GET /v2, /v2/health/live, /v2/health/ready, /v2/models/{name}[/versions/{version}][/ready|/config|/stats], ' +
  '/v1/models, /v1/models/{name}; POST /v2/models/{name}[/versions/{version}]/infer, /v2/repository/index, ' +
  '/v1/models/{name}:predict; GET /openapi.json';

const READ = 'GET, HEAD';
const PREDICT = ':predict';

/**
 * Finds what a method and a request target mean. The target may have a query, which is ignored, a trailing
 * slash, or be in absolute form (RFC 9112 §3.2.2). Dot segments are names like any other, so that a path can
 * lead nowhere.
 */
export function resolveRoute(method: string, target: string): Resolution {
  const segments = splitPath(target);
  if (segments === undefined) return { kind: 'bad-encoding' };
  const found = findRoute(segments);
  if (found === undefined) return { kind: 'not-found' };
  const isWork = found.kind === 'infer' || found.kind === 'v1-predict' || found.kind === 'repository-index';
  const allow = isWork ? 'POST' : READ;
  const allowed = isWork ? method === 'POST' : method === 'GET' || method === 'HEAD';
  return allowed ? found : { kind: 'method-not-allowed', allow };
}

function splitPath(target: string): string[] | undefined {
  let path = target;
  const absolute = /^https?:\/\/[^/?#]*/i.exec(path);
  if (absolute !== null) path = path.slice(absolute[0].length);
  const end = path.search(/[?#]/);
  if (end !== -1) path = path.slice(0, end);
  if (path.endsWith('/')) path = path.slice(0, -1);
  const segments = path.split('/').slice(1);
  if (!path.includes('%')) return segments;
  try {
    return segments.map(decodeURIComponent);
  } catch {
    return undefined;
  }
}

function findRoute(segments: readonly string[]): Route | undefined {
  const [root, area, name, ...rest] = segments;
  if (root === 'v1') return area === 'models' ? findV1(name, rest) : undefined;
  if (root === 'openapi.json' && area === undefined) return { kind: 'openapi' };
  if (root !== 'v2') return undefined;
  if (area === undefined) return { kind: 'server-metadata' };
  if (area === 'health' && rest.length === 0 && (name === 'live' || name === 'ready')) return { kind: name };
  if (area === 'repository' && name === 'index' && rest.length === 0) return { kind: 'repository-index' };
  if (area !== 'models') return undefined;
  if (name === undefined) return { kind: 'models' };
  // Triton's address for the statistics of every model; a model called `stats` has its own under its name.
  if (name === 'stats' && rest.length === 0) return { kind: 'all-stats' };
  return findV2(name, rest);
}

function findV2(model: string, rest: readonly string[]): Route | undefined {
  const versioned = rest[0] === 'versions';
  if (versioned && rest[1] === undefined) return undefined;
  const version = versioned ? rest[1] : undefined;
  const [verb, ...beyond] = versioned ? rest.slice(2) : rest;
  if (model === '' || beyond.length > 0) return undefined;
  switch (verb) {
    case undefined:
      return { kind: 'model-metadata', model, version };
    case 'infer':
      return { kind: 'infer', model, version };
    case 'ready':
      return { kind: 'model-ready', model, version };
    case 'config':
      return { kind: 'model-config', model, version };
    case 'stats':
      return { kind: 'model-stats', model, version };
    default:
      return undefined;
  }
}

function findV1(name: string | undefined, rest: readonly string[]): Route | undefined {
  if (name === undefined) return { kind: 'v1-models' };
  if (rest.length > 0 || name === '' || name === PREDICT) return undefined;
  if (name.endsWith(PREDICT)) {
    return { kind: 'v1-predict', model: name.slice(0, -PREDICT.length), version: undefined };
  }
  return { kind: 'v1-model', model: name, version: undefined };
}

/** Longer targets are not worth remembering, and a client could fill memory with them. */
const MAX_CACHED_CHARACTERS = 256;
const MAX_CACHED_ROUTES = 32;

/** {@link resolveRoute} with a memory of the targets asked for of late: a busy server sees the same few. */
export class RouteCache {
  readonly #routes = new Map<string, Resolution>();

  resolve(method: string, target: string): Resolution {
    const key = `${method} ${target}`;
    const known = this.#routes.get(key);
    if (known !== undefined) return known;
    const resolution = resolveRoute(method, target);
    if (key.length > MAX_CACHED_CHARACTERS) return resolution;
    if (this.#routes.size >= MAX_CACHED_ROUTES) this.#routes.clear();
    this.#routes.set(key, resolution);
    return resolution;
  }
}
