import type { ServiceRoute } from '../../contracts/routes.ts';
import { lookAlikes } from './look-alikes.ts';
import type { RoutingTable } from './routing-table.ts';

export type Match =
  | {
      kind: 'found';
      service: ServiceRoute;
      path: string;
      /** The one that a host of its own leads to; undefined: whichever has its turn. */
      revision?: string;
    }
  | { kind: 'unknown'; message: string };

/** A host as routes name it: without port and trailing dot, in lower case. `[::1]:80` becomes `[::1]`. */
export function normaliseHost(host: string): string {
  const colon = host.lastIndexOf(':');
  let bare = colon === -1 || host.endsWith(']') ? host : host.slice(0, colon);
  if (bare.endsWith('.')) bare = bare.slice(0, -1);
  return bare.toLowerCase();
}

/** The Service in front of all activators, as the chart names it. */
const ACTIVATOR_SERVICE = 'pilotlight-activator';

/**
 * Finds the service that a request is for: by host, which may lead to one revision alone, else by the path
 * `/namespace/name/…`, whose prefix is taken off, else by the model in an Open Inference Protocol or V1 path where
 * just one service has it. A host that names a service of the cluster (`name.namespace.svc…`) means that one: where it
 * is gone, no service of another namespace answers in its place.
 *
 * @param host as the client sent it, empty where it sent none.
 * @param path request target in origin form, with its query.
 */
export function findService(table: RoutingTable, host: string, path: string): Match {
  const bareHost = normaliseHost(host);
  const byHost = table.byHost(bareHost);
  if (byHost !== undefined) return { kind: 'found', service: byHost, path };
  const byTag = table.byTag(bareHost);
  if (byTag !== undefined) return { kind: 'found', ...byTag, path };
  const prefix = pathPrefix(path);
  const byPath = prefix && table.byPath(prefix.namespace, prefix.name);
  if (prefix !== undefined && byPath !== undefined) {
    return { kind: 'found', service: byPath, path: prefix.rest };
  }
  const model = namesOneService(bareHost) ? undefined : modelInPath(path);
  if (model !== undefined) {
    const services = table.byModel(model);
    const only = services[0];
    if (only !== undefined && services.length === 1) return { kind: 'found', service: only, path };
    return { kind: 'unknown', message: unknownModel(model, services) };
  }
  return { kind: 'unknown', message: unknownService(table, bareHost, prefix) };
}

function namesOneService(host: string): boolean {
  const [name, , svc] = host.split('.', 3);
  return svc === 'svc' && name !== ACTIVATOR_SERVICE;
}

interface PathPrefix {
  namespace: string;
  name: string;
  /** The target without the two segments, at least `/`. */
  rest: string;
}

function pathPrefix(path: string): PathPrefix | undefined {
  const namespaceEnd = path.indexOf('/', 1);
  if (namespaceEnd <= 1) return undefined;
  let nameEnd = namespaceEnd + 1;
  while (nameEnd < path.length && path[nameEnd] !== '/' && path[nameEnd] !== '?') nameEnd++;
  const name = path.slice(namespaceEnd + 1, nameEnd);
  if (name === '') return undefined;
  const rest = path.slice(nameEnd);
  return {
    namespace: path.slice(1, namespaceEnd),
    name,
    rest: rest.startsWith('/') ? rest : `/${rest}`,
  };
}

/** The model that an Open Inference Protocol or V1 path names: `/v2/models/{model}…`, `/v1/models/{model}…`. */
export function modelInPath(path: string): string | undefined {
  const found = /^\/v[12]\/models\/([^/?:]+)/.exec(path)?.[1];
  if (found === undefined) return undefined;
  try {
    return decodeURIComponent(found);
  } catch {
    return found;
  }
}

/** True for the calls that may be sent twice: inference has no effect but its answer. */
export function isInferenceCall(method: string, path: string): boolean {
  return (
    method === 'POST' &&
    /^\/(v2\/models\/[^?]*\/infer|v1\/models\/[^/?]+:predict|inference\.GRPCInferenceService\/ModelInfer)(\?|$)/.test(
      path,
    )
  );
}

function unknownModel(model: string, services: readonly ServiceRoute[]): string {
  if (services.length === 0) return `no service has a model named "${model}"`;
  const names = services.slice(0, 5).map((service) => `/${service.namespace}/${service.name}`);
  return `${services.length} services have a model named "${model}"; call one by its host or as ${names.join(', ')}`;
}

function unknownService(table: RoutingTable, host: string, prefix: PathPrefix | undefined): string {
  const labels = host.split('.');
  const [name = '', namespace = ''] = labels;
  const meant: { namespace: string; name: string }[] = [];
  if (labels.length >= 2) meant.push({ namespace, name });
  if (prefix !== undefined) meant.push(prefix);
  for (const one of meant) {
    const names = lookAlikes(one.name, table.namesOf(one.namespace));
    if (names.length > 0) {
      return `no service "${one.name}" in namespace "${one.namespace}"; did you mean ${names.map((found) => `"${found}"`).join(', ')}?`;
    }
  }
  const asked = host === '' ? 'this request' : `host "${host.slice(0, 255)}"`;
  return `no service for ${asked}; name it by host (name.namespace), by path (/namespace/name/…) or by model (/v2/models/{model}/infer)`;
}
