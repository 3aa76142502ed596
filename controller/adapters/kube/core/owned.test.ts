import { describe, expect, it } from 'vitest';
import type { KubeObject } from '../api/wire.ts';
import { correction } from './owned.ts';
import { disruptionBudget, endpointSlices, serviceObject } from './service-objects.ts';

const OCR = { namespace: 'team', name: 'ocr', uid: 'service-uid' };
const POD = {
  namespace: 'pilotlight-system',
  name: 'a',
  uid: 'u',
  addresses: ['10.0.0.1'],
  isReady: true,
  isTerminating: false,
};

type Fields = Record<string, unknown>;

/** As the API server gives it back: its own fields filled in. */
function stored(object: KubeObject, more: Fields = {}, moreMetadata: Fields = {}): KubeObject {
  return {
    ...object,
    ...more,
    metadata: { ...object.metadata, uid: 'x', resourceVersion: '5', ...moreMetadata },
  };
}

const service = serviceObject(OCR);
const served = (spec: Fields = {}): Fields => ({
  spec: {
    ...service.spec,
    clusterIP: '10.96.0.9',
    clusterIPs: ['10.96.0.9'],
    sessionAffinity: 'None',
    ipFamilies: ['IPv4'],
    ...spec,
  },
});

describe('a Service', () => {
  it('that is as it is wanted needs no write, whatever the API server and others have added', () => {
    const ports = [{ name: 'http', port: 80, targetPort: 8080, protocol: 'TCP', nodePort: 31_000 }];
    const metadata = {
      labels: { ...service.metadata?.labels, team: 'theirs' },
      annotations: { note: 'theirs' },
      ownerReferences: [
        { apiVersion: 'v1', kind: 'ConfigMap', name: 'c', uid: 'c' },
        ...(service.metadata?.ownerReferences ?? []),
      ],
    };
    expect(correction(stored(service, served({ ports }), metadata), service)).toBeUndefined();
  });

  it.each<[string, Fields, Fields]>([
    ['a selector, which would lead traffic elsewhere', { selector: { app: 'x' } }, { selector: null }],
    [
      'another type',
      { type: 'ExternalName', externalName: 'evil.example.com' },
      { type: 'ClusterIP', externalName: null },
    ],
    [
      'another port',
      { ports: [{ name: 'http', port: 80, targetPort: 9, protocol: 'TCP' }] },
      { ports: service.spec?.ports },
    ],
    [
      'one port more',
      { ports: [...(service.spec?.ports ?? []), { name: 'b', port: 81, targetPort: 1 }] },
      { ports: service.spec?.ports },
    ],
  ])('is put right when somebody gives it %s', (_what, foreign, spec) => {
    expect(correction(stored(service, served(foreign)), service)).toEqual({ spec });
  });

  it.each<[string, Fields, Fields]>([
    [
      'a label of ours',
      { labels: { 'serving.pilotlight.dev/service': 'other' } },
      { labels: service.metadata?.labels },
    ],
    [
      'one label more of our group',
      { labels: { ...service.metadata?.labels, 'serving.pilotlight.dev/pool': 'x' } },
      { labels: { 'serving.pilotlight.dev/pool': null } },
    ],
    ['no owner', { ownerReferences: [] }, { ownerReferences: service.metadata?.ownerReferences }],
    [
      'another controller',
      { ownerReferences: [{ apiVersion: 'a', kind: 'K', name: 'n', uid: 'n', controller: true }] },
      { ownerReferences: service.metadata?.ownerReferences },
    ],
  ])('is put right when it has %s', (_what, foreign, metadata) => {
    expect(correction(stored(service, served(), foreign), service)).toEqual({ metadata });
  });
});

describe('an EndpointSlice', () => {
  const [slice = {}] = endpointSlices(OCR, [POD], ['IPv4']);
  const [empty = {}] = endpointSlices(OCR, [], ['IPv4']);

  it('is compared as a whole', () => {
    expect(correction(stored(slice), slice)).toBeUndefined();
    expect(correction(stored(empty), slice)).toEqual({
      endpoints: expect.arrayContaining([expect.anything()]),
    });
    expect(correction(stored(slice), empty)).toEqual({ endpoints: [] });
  });

  it('without endpoints is what the API server calls null', () => {
    expect(correction(stored(empty, { endpoints: null }), empty)).toBeUndefined();
  });
});

it('a disruption budget follows the number of replicas and allows no second way to count', () => {
  const [three = {}, two = {}] = [disruptionBudget(OCR, 3), disruptionBudget(OCR, 2)];
  expect(correction(stored(three), three)).toBeUndefined();
  expect(correction(stored(three), two)).toEqual({ spec: { minAvailable: 1 } });
  const both = stored(two, {
    spec: { ...disruptionBudget(OCR, 2)?.spec, maxUnavailable: 1 },
  });
  expect(correction(both, two)).toEqual({ spec: { maxUnavailable: null } });
});

it('a kind that nobody here owns is a mistake of the caller', () => {
  expect(() => correction({}, { kind: 'Secret' })).toThrow('objects of kind Secret are not compared');
});
