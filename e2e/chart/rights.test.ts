import type { V1PolicyRule } from '@kubernetes/client-node';
import { expect, test } from 'vitest';
import { NAMESPACE, render } from './testing/helm.ts';
import { named, namesOf, ofKind } from './testing/rendered.ts';

/** Rules as `group/resource: verbs`, the core group as "core". */
function granted(rules: readonly V1PolicyRule[] | undefined): Record<string, string> {
  const verbs = new Map<string, Set<string>>();
  for (const rule of rules ?? []) {
    const names = rule.resourceNames === undefined ? '' : ` ${rule.resourceNames.join()}`;
    for (const group of rule.apiGroups ?? []) {
      for (const resource of rule.resources ?? []) {
        const key = `${group || 'core'}/${resource}${names}`;
        const known = verbs.get(key) ?? new Set();
        for (const verb of rule.verbs) known.add(verb);
        verbs.set(key, known);
      }
    }
  }
  return Object.fromEntries([...verbs].map(([key, set]) => [key, [...set].sort().join(' ')]));
}

/** What the controller may do where services live. A right that is added or dropped has to be so here as well. */
const WHERE_SERVICES_LIVE = {
  'serving.pilotlight.dev/inferenceservices': 'get list watch',
  'serving.pilotlight.dev/inferenceservices/status': 'patch',
  'serving.pilotlight.dev/inferenceservices/finalizers': 'update',
  'serving.pilotlight.dev/standbypools': 'create delete get list patch watch',
  'serving.pilotlight.dev/standbypools/status': 'patch',
  'serving.pilotlight.dev/standbypools/finalizers': 'update',
  'core/pods': 'create delete get list patch watch',
  'core/services': 'create delete get list patch watch',
  'discovery.k8s.io/endpointslices': 'create delete get list patch watch',
  'discovery.k8s.io/endpointslices/restricted': 'create',
  'apps/controllerrevisions': 'create delete list patch',
  'policy/poddisruptionbudgets': 'create delete get list patch watch',
  'core/secrets': 'get',
  'core/configmaps': 'get',
  'core/serviceaccounts': 'get',
  'core/events': 'create patch',
};
const OF_THE_CLUSTER = {
  'core/nodes': 'get list watch',
  'core/namespaces': 'get list watch',
  'authentication.k8s.io/tokenreviews': 'create',
};
const LEASE = {
  'coordination.k8s.io/leases': 'create',
  'coordination.k8s.io/leases pilotlight-controller': 'get update',
};
const CLUSTER_ROLE = `pilotlight:${NAMESPACE}:controller`;

test('for all namespaces the controller has one ClusterRole, and its Lease', async () => {
  const objects = await render();
  expect(granted(named(objects, 'ClusterRole', CLUSTER_ROLE).rules)).toEqual({
    ...OF_THE_CLUSTER,
    ...WHERE_SERVICES_LIVE,
  });
  expect(granted(named(objects, 'Role', 'pilotlight-controller').rules)).toEqual(LEASE);
});

test('for a list of namespaces it has a Role in each and sees nothing of the others', async () => {
  const objects = await render({ namespaces: ['team-a', 'team-b'] });
  expect(granted(named(objects, 'ClusterRole', CLUSTER_ROLE).rules)).toEqual(OF_THE_CLUSTER);
  expect(namesOf([...ofKind(objects, 'Role'), ...ofKind(objects, 'RoleBinding')])).toEqual([
    `Role ${NAMESPACE}/pilotlight-controller`,
    `Role team-a/${CLUSTER_ROLE}`,
    `Role team-b/${CLUSTER_ROLE}`,
    `RoleBinding ${NAMESPACE}/pilotlight-controller`,
    `RoleBinding team-a/${CLUSTER_ROLE}`,
    `RoleBinding team-b/${CLUSTER_ROLE}`,
  ]);
  for (const { metadata, rules } of ofKind(objects, 'Role')) {
    const isPlatform = metadata.namespace === NAMESPACE;
    expect(granted(rules)).toEqual(
      isPlatform ? { ...LEASE, 'core/pods': 'get list watch' } : WHERE_SERVICES_LIVE,
    );
  }
});

test('nothing but the controller is bound to anything', async () => {
  const objects = await render({ namespaces: ['team-a'] });
  const bindings = [...ofKind(objects, 'RoleBinding'), ...ofKind(objects, 'ClusterRoleBinding')];
  expect(bindings).toHaveLength(3);
  for (const { subjects } of bindings) {
    expect(subjects).toEqual([
      { kind: 'ServiceAccount', name: 'pilotlight-controller', namespace: NAMESPACE },
    ]);
  }
});

test('no rule has a wildcard', async () => {
  for (const { rules } of [...ofKind(await render(), 'ClusterRole'), ...ofKind(await render(), 'Role')]) {
    expect(JSON.stringify(rules)).not.toContain('*');
  }
});

test('people who may view or edit a namespace may do so with services and pools, and never write a status', async () => {
  const objects = await render();
  const view = named(objects, 'ClusterRole', 'pilotlight-view');
  const edit = named(objects, 'ClusterRole', 'pilotlight-edit');
  const aggregate = 'rbac.authorization.k8s.io/aggregate-to-';
  expect(Object.keys(view.metadata.labels ?? {}).filter((label) => label.startsWith(aggregate))).toEqual([
    `${aggregate}view`,
    `${aggregate}edit`,
    `${aggregate}admin`,
  ]);
  expect(Object.keys(edit.metadata.labels ?? {}).filter((label) => label.startsWith(aggregate))).toEqual([
    `${aggregate}edit`,
    `${aggregate}admin`,
  ]);
  expect(granted(view.rules)).toEqual({
    'serving.pilotlight.dev/inferenceservices': 'get list watch',
    'serving.pilotlight.dev/inferenceservices/status': 'get',
    'serving.pilotlight.dev/standbypools': 'get list watch',
    'serving.pilotlight.dev/standbypools/status': 'get',
  });
  const write = 'create delete deletecollection patch update';
  expect(granted(edit.rules)).toEqual({
    'serving.pilotlight.dev/inferenceservices': write,
    'serving.pilotlight.dev/standbypools': write,
  });
});
