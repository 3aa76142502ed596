/** A kind of resource as the API's paths name it. The core group is `''`. */
export interface ResourceKind {
  readonly group: string;
  readonly version: string;
  /** Plural in lower case, e.g. `endpointslices`. */
  readonly plural: string;
}

export interface ObjectPath extends ResourceKind {
  readonly namespace?: string;
  /** Without a name the path is that of the whole collection. */
  readonly name?: string;
  /** E.g. `status`, `scale`, `eviction`; needs a name. */
  readonly subresource?: string;
}

/** The kinds that the controller deals with. */
export const RESOURCES = {
  pods: { group: '', version: 'v1', plural: 'pods' },
  services: { group: '', version: 'v1', plural: 'services' },
  secrets: { group: '', version: 'v1', plural: 'secrets' },
  configMaps: { group: '', version: 'v1', plural: 'configmaps' },
  serviceAccounts: { group: '', version: 'v1', plural: 'serviceaccounts' },
  namespaces: { group: '', version: 'v1', plural: 'namespaces' },
  nodes: { group: '', version: 'v1', plural: 'nodes' },
  events: { group: '', version: 'v1', plural: 'events' },
  endpointSlices: { group: 'discovery.k8s.io', version: 'v1', plural: 'endpointslices' },
  controllerRevisions: { group: 'apps', version: 'v1', plural: 'controllerrevisions' },
  podDisruptionBudgets: { group: 'policy', version: 'v1', plural: 'poddisruptionbudgets' },
  leases: { group: 'coordination.k8s.io', version: 'v1', plural: 'leases' },
  tokenReviews: { group: 'authentication.k8s.io', version: 'v1', plural: 'tokenreviews' },
  inferenceServices: { group: 'serving.pilotlight.dev', version: 'v1alpha1', plural: 'inferenceservices' },
  standbyPools: { group: 'serving.pilotlight.dev', version: 'v1alpha1', plural: 'standbypools' },
} as const satisfies Record<string, ResourceKind>;

/**
 * Path of an object, of its subresource, or of a collection (no name).
 *
 * @example
 * objectPath({ ...RESOURCES.pods, namespace: 'team', name: 'a' }); // '/api/v1/namespaces/team/pods/a'
 * @throws TypeError for a subresource without a name, which would be the path of another object.
 */
export function objectPath(path: ObjectPath): string {
  const { group, version, plural, namespace, name, subresource } = path;
  if (subresource !== undefined && name === undefined) {
    throw new TypeError(`a subresource (${subresource} of ${plural}) needs the name of its object`);
  }
  const root = group === '' ? ['api', version] : ['apis', group, version];
  const scope = namespace === undefined ? [] : ['namespaces', namespace];
  const own = [name, subresource].filter((part) => part !== undefined);
  return `/${[...root, ...scope, plural, ...own].map((part) => segment(part, path)).join('/')}`;
}

/** An empty part or one of dots would silently be the path of another object, or of the whole collection. */
function segment(part: string, path: ObjectPath): string {
  if (part === '' || part === '.' || part === '..') {
    throw new TypeError(`'${part}' can't be part of a path: ${JSON.stringify(path)}`);
  }
  return encodeURIComponent(part);
}
