import type { ConfigMap, Secret } from './config-objects.ts';
import type { EnvFromSource, EnvVar } from './pod-fields.ts';
import { type PathSegment, type Problem, problemAt } from './problems.ts';

/** The objects of one namespace that its services may refer to, by name. */
export interface NamespaceObjects {
  configMaps: ReadonlyMap<string, ConfigMap>;
  secrets: ReadonlyMap<string, Secret>;
}

/**
 * The environment of a replica, as the kubelet makes it: envFrom in order, then env in order over it, with
 * `$(NAME)` in a value standing for a variable that came before. A missing object or key is a problem that
 * names it, unless the reference is optional.
 */
export function resolveEnv(
  declared: { env: readonly EnvVar[]; envFrom: readonly EnvFromSource[] },
  namespace: string,
  objects: NamespaceObjects,
  path: readonly PathSegment[],
): { env: Record<string, string>; problems: Problem[] } {
  // No prototype, so that a variable named like one of Object's own properties is a variable like any other.
  const env = Object.create(null) as Record<string, string>;
  const problems: Problem[] = [];
  for (const [index, source] of declared.envFrom.entries()) {
    const isSecret = source.secretRef !== undefined;
    const reference = source.secretRef ?? source.configMapRef;
    if (reference === undefined) continue;
    const object = isSecret ? objects.secrets.get(reference.name) : objects.configMaps.get(reference.name);
    const at = [...path, 'envFrom', index, isSecret ? 'secretRef' : 'configMapRef'];
    if (object === undefined) {
      if (reference.optional !== true)
        problems.push(problemAt(at, missingObject(isSecret, reference.name, namespace)));
      continue;
    }
    for (const [key, value] of Object.entries(object.data)) env[`${source.prefix ?? ''}${key}`] = value;
  }
  for (const [index, variable] of declared.env.entries()) {
    if (variable.valueFrom === undefined) {
      env[variable.name] = expandReferences(variable.value ?? '', env);
      continue;
    }
    const { secretKeyRef, configMapKeyRef } = variable.valueFrom;
    const reference = secretKeyRef ?? configMapKeyRef;
    if (reference === undefined) continue;
    const isSecret = secretKeyRef !== undefined;
    const object = isSecret ? objects.secrets.get(reference.name) : objects.configMaps.get(reference.name);
    const value =
      object !== undefined && Object.hasOwn(object.data, reference.key)
        ? object.data[reference.key]
        : undefined;
    if (value !== undefined) env[variable.name] = value;
    else if (reference.optional !== true) {
      const at = [...path, 'env', index, 'valueFrom', isSecret ? 'secretKeyRef' : 'configMapKeyRef'];
      problems.push(
        object === undefined
          ? problemAt([...at, 'name'], missingObject(isSecret, reference.name, namespace))
          : problemAt([...at, 'key'], missingKey(object, reference.key)),
      );
    }
  }
  return { env, problems };
}

/**
 * Kubernetes' expansion of `$(NAME)` in values, arguments and commands: a name that is not there stays as it
 * is written, `$$` stands for one `$`.
 */
export function expandReferences(text: string, env: Readonly<Record<string, string>>): string {
  return text.replaceAll(/\$\$|\$\(([^()]*)\)/g, (whole: string, name: string | undefined) => {
    if (name === undefined) return '$';
    return Object.hasOwn(env, name) ? (env[name] ?? whole) : whole;
  });
}

export function missingObject(isSecret: boolean, name: string, namespace: string): string {
  return `${isSecret ? 'Secret' : 'ConfigMap'} "${name}" is not in namespace "${namespace}"`;
}

/** Names the keys that are there, never their values. */
export function missingKey(object: ConfigMap | Secret, key: string): string {
  if (object.kind === 'Secret' && object.binaryKeys.includes(key)) {
    return `key "${key}" of Secret "${object.metadata.name}" is not text (UTF-8)`;
  }
  const keys = Object.keys(object.data);
  const there = keys.length === 0 ? 'it is empty' : `it has ${keys.slice(0, 10).join(', ')}`;
  return `${object.kind} "${object.metadata.name}" has no key "${key}"; ${there}`;
}
