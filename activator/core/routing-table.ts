import type { RoutesMessage, ServiceRoute } from '../../contracts/routes.ts';

/** Services that a routes message put in force or took away. */
export interface RouteChanges {
  changed: ServiceRoute[];
  removedUids: string[];
}

/**
 * The services in force, found by uid, host, path or model name. Several services may claim one host, path or
 * model: the one that came first has it, and the next one takes over when it goes.
 */
export class RoutingTable {
  readonly #services = new Map<string, ServiceRoute>();
  readonly #byHost = new Map<string, string[]>();
  /** Hosts of single revisions; a service that has such a name itself comes before them. */
  readonly #byTag = new Map<string, string[]>();
  readonly #byPath = new Map<string, string[]>();
  readonly #byModel = new Map<string, string[]>();
  readonly #byNamespace = new Map<string, Set<string>>();

  /** Carries a message out and says what it touched; a snapshot removes what it doesn't name. */
  apply(message: RoutesMessage): RouteChanges {
    switch (message.type) {
      case 'heartbeat':
        return { changed: [], removedUids: [] };
      case 'service':
        this.#put(message.service);
        return { changed: [message.service], removedUids: [] };
      case 'removed':
        this.#remove(message.uid);
        return { changed: [], removedUids: [message.uid] };
      case 'snapshot': {
        const kept = new Set(message.services.map((service) => service.uid));
        const removedUids = [...this.#services.keys()].filter((uid) => !kept.has(uid));
        for (const uid of removedUids) this.#remove(uid);
        for (const service of message.services) this.#put(service);
        return { changed: message.services, removedUids };
      }
    }
  }

  get size(): number {
    return this.#services.size;
  }

  get(uid: string): ServiceRoute | undefined {
    return this.#services.get(uid);
  }

  services(): Iterable<ServiceRoute> {
    return this.#services.values();
  }

  /** @param host lower case, without port and trailing dot. */
  byHost(host: string): ServiceRoute | undefined {
    return this.#first(this.#byHost.get(host));
  }

  /** The revision that a host leads to alone. */
  byTag(host: string): { service: ServiceRoute; revision: string } | undefined {
    const service = this.#first(this.#byTag.get(host));
    const revision = service?.revisions.find(({ hosts }) => hosts?.includes(host) === true);
    return service === undefined || revision === undefined ? undefined : { service, revision: revision.name };
  }

  byPath(namespace: string, name: string): ServiceRoute | undefined {
    return this.#first(this.#byPath.get(`${namespace}/${name}`));
  }

  /** All services whose model is called so; a request may name it only where there is just one. */
  byModel(model: string): ServiceRoute[] {
    const services = (this.#byModel.get(model) ?? []).map((uid) => this.#services.get(uid));
    return services.filter((service) => service !== undefined);
  }

  namesOf(namespace: string): Iterable<string> {
    return this.#byNamespace.get(namespace) ?? [];
  }

  #first(uids: string[] | undefined): ServiceRoute | undefined {
    const uid = uids?.[0];
    return uid === undefined ? undefined : this.#services.get(uid);
  }

  #put(service: ServiceRoute): void {
    const before = this.#services.get(service.uid);
    this.#services.set(service.uid, service);
    if (before !== undefined && sameNames(before, service)) return;
    if (before !== undefined) this.#unindex(before);
    for (const host of service.hosts) claim(this.#byHost, host, service.uid);
    for (const host of tagHosts(service)) claim(this.#byTag, host, service.uid);
    claim(this.#byPath, `${service.namespace}/${service.name}`, service.uid);
    for (const model of service.models) claim(this.#byModel, model, service.uid);
    const names = this.#byNamespace.get(service.namespace) ?? new Set();
    names.add(service.name);
    this.#byNamespace.set(service.namespace, names);
  }

  #remove(uid: string): void {
    const service = this.#services.get(uid);
    if (service === undefined) return;
    this.#services.delete(uid);
    this.#unindex(service);
  }

  #unindex(service: ServiceRoute): void {
    for (const host of service.hosts) unclaim(this.#byHost, host, service.uid);
    for (const host of tagHosts(service)) unclaim(this.#byTag, host, service.uid);
    const path = `${service.namespace}/${service.name}`;
    unclaim(this.#byPath, path, service.uid);
    for (const model of service.models) unclaim(this.#byModel, model, service.uid);
    if (this.#byPath.has(path)) return;
    const names = this.#byNamespace.get(service.namespace);
    names?.delete(service.name);
    if (names?.size === 0) this.#byNamespace.delete(service.namespace);
  }
}

function tagHosts({ revisions }: ServiceRoute): string[] {
  return revisions.flatMap(({ hosts = [] }) => hosts);
}

function sameNames(one: ServiceRoute, other: ServiceRoute): boolean {
  return (
    one.namespace === other.namespace &&
    one.name === other.name &&
    one.hosts.join() === other.hosts.join() &&
    tagHosts(one).join() === tagHosts(other).join() &&
    one.models.join() === other.models.join()
  );
}

function claim(index: Map<string, string[]>, key: string, uid: string): void {
  const uids = index.get(key);
  if (uids === undefined) index.set(key, [uid]);
  else if (!uids.includes(uid)) uids.push(uid);
}

function unclaim(index: Map<string, string[]>, key: string, uid: string): void {
  const rest = (index.get(key) ?? []).filter((one) => one !== uid);
  if (rest.length === 0) index.delete(key);
  else index.set(key, rest);
}
