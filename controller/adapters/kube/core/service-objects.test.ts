import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  chooseActivators,
  disruptionBudget,
  type EndpointPod,
  endpointSlices,
  serviceObject,
} from './service-objects.ts';

const OCR = { namespace: 'team', name: 'ocr', uid: 'service-uid' };

function activator(number: number, rest: Partial<EndpointPod> = {}): EndpointPod {
  return {
    namespace: 'pilotlight-system',
    name: `pilotlight-activator-${number}`,
    uid: `uid-${number}`,
    addresses: [`10.0.0.${number}`],
    isReady: true,
    isTerminating: false,
    ...rest,
  };
}

it('a Service has one port and no selector, and goes with its InferenceService', () => {
  const { metadata, spec } = serviceObject(OCR);
  expect(metadata).toMatchObject({
    name: 'ocr',
    namespace: 'team',
    ownerReferences: [{ kind: 'InferenceService', uid: 'service-uid', controller: true }],
  });
  expect(spec?.ports).toEqual([{ name: 'http', port: 80, targetPort: 8080, protocol: 'TCP' }]);
  expect(spec?.selector).toBeUndefined();
});

describe('EndpointSlices', () => {
  it('say whose they are, for kube-proxy and for us', () => {
    expect(endpointSlices(OCR, [activator(1)], ['IPv4'])).toEqual([
      {
        apiVersion: 'discovery.k8s.io/v1',
        kind: 'EndpointSlice',
        metadata: {
          namespace: 'team',
          name: 'ocr-v4',
          labels: {
            'app.kubernetes.io/managed-by': 'pilotlight',
            'serving.pilotlight.dev/service': 'ocr',
            'endpointslice.kubernetes.io/managed-by': 'pilotlight',
            'kubernetes.io/service-name': 'ocr',
          },
          ownerReferences: [expect.objectContaining({ uid: 'service-uid' })],
        },
        addressType: 'IPv4',
        ports: [{ name: 'http', port: 8080, protocol: 'TCP' }],
        endpoints: [
          {
            addresses: ['10.0.0.1'],
            conditions: { ready: true, serving: true, terminating: false },
            targetRef: {
              kind: 'Pod',
              namespace: 'pilotlight-system',
              name: 'pilotlight-activator-1',
              uid: 'uid-1',
            },
          },
        ],
      },
    ]);
  });

  it('are one for each family of the Service, with the addresses of that family', () => {
    const pods = [activator(1, { addresses: ['10.0.0.1', 'fd00::1'] }), activator(2)];
    const slices = endpointSlices(OCR, pods, ['IPv6', 'IPv4']);
    expect(
      slices.map(({ addressType, endpoints }) => [
        addressType,
        (endpoints ?? []).map(({ addresses }) => addresses),
      ]),
    ).toEqual([
      ['IPv6', [['fd00::1']]],
      ['IPv4', [['10.0.0.1'], ['10.0.0.2']]],
    ]);
    expect(endpointSlices(OCR, [], ['IPv6'])[0]?.endpoints).toEqual([]);
  });

  it('send nothing new to a pod that ends, and say that it still answers', () => {
    const [slice] = endpointSlices(
      OCR,
      [activator(1, { isTerminating: true, nodeName: 'n', zone: 'z' })],
      ['IPv4'],
    );
    expect(slice?.endpoints?.[0]).toMatchObject({
      conditions: { ready: false, serving: true, terminating: true },
      nodeName: 'n',
      zone: 'z',
    });
  });

  it('are the same for the same pods in any order, so that nothing is written twice', () => {
    const pods = Array.from({ length: 12 }, (_, number) => activator(number));
    fc.assert(
      fc.property(fc.shuffledSubarray(pods, { minLength: pods.length }), (shuffled) => {
        expect(endpointSlices(OCR, shuffled, ['IPv4'])).toEqual(endpointSlices(OCR, pods, ['IPv4']));
      }),
    );
  });
});

describe('the activators of a service', () => {
  const uids = fc.uniqueArray(fc.uuid(), { minLength: 1, maxLength: 12 });
  const activators = uids.map((list) => list.map((uid) => ({ uid })));
  const services = fc.uniqueArray(fc.uuid(), { minLength: 1, maxLength: 30 });
  const count = fc.integer({ min: 1, max: 4 });

  it('are as many as wanted, no two the same, in whatever order they are known', () => {
    fc.assert(
      fc.property(activators, fc.uuid(), count, (all, service, wanted) => {
        const chosen = chooseActivators(service, all, wanted);
        expect(new Set(chosen).size).toBe(Math.min(wanted, all.length));
        expect(chooseActivators(service, all.toReversed(), wanted)).toEqual(chosen);
      }),
    );
  });

  it('stay when another activator is lost: only services that had it change, by that one alone', () => {
    fc.assert(
      fc.property(activators, services, count, fc.nat(), (all, ofUids, wanted, pick) => {
        const lost = all[pick % all.length];
        const left = all.filter((one) => one !== lost);
        for (const service of ofUids) {
          const before = chooseActivators(service, all, wanted);
          const after = chooseActivators(service, left, wanted);
          const kept = before.filter((one) => one !== lost);
          expect(after.slice(0, kept.length)).toEqual(kept);
          if (kept.length === before.length) expect(after).toEqual(before);
        }
      }),
    );
  });

  it('share the services out evenly: of 10,000 over 5 activators, two each, none is 5 % off', () => {
    const all = Array.from({ length: 5 }, (_, number) => ({
      uid: `4b1c6c4e-0000-4000-8000-00000000000${number}`,
    }));
    const load = new Map<string, number>();
    for (let service = 0; service < 10_000; service++) {
      for (const { uid } of chooseActivators(`7d0a-${service}`, all, 2))
        load.set(uid, (load.get(uid) ?? 0) + 1);
    }
    for (const held of load.values()) expect(Math.abs(held - 4_000)).toBeLessThan(200);
    expect(load.size).toBe(5);
  });
});

it('a disruption budget is there from two replicas on, and always lets one go', () => {
  expect(disruptionBudget(OCR, 0)).toBeUndefined();
  expect(disruptionBudget(OCR, 1)).toBeUndefined();
  expect(disruptionBudget(OCR, 3)?.spec).toEqual({
    minAvailable: 2,
    unhealthyPodEvictionPolicy: 'AlwaysAllow',
    selector: {
      matchLabels: { 'app.kubernetes.io/managed-by': 'pilotlight', 'serving.pilotlight.dev/service': 'ocr' },
    },
  });
});
