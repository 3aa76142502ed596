import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { claimPatch, isPatched, type NewHolder, type PodPatch, releasePatch } from './claim-patch.ts';
import type { Pod } from './kube-types.ts';
import { standbyPod } from './pod.ts';
import { podContext, poolObject } from './testing/pods.ts';

/** RFC 7396, for what these patches hold. */
function patched(pod: Pod, { metadata }: PodPatch): Pod {
  const merged = (
    before: Readonly<Record<string, string>> = {},
    patch: Readonly<Record<string, string | null>> = {},
  ) =>
    Object.fromEntries(
      Object.entries({ ...before, ...patch }).flatMap(([key, value]) =>
        value === null ? [] : [[key, value]],
      ),
    ) as Record<string, string>;
  return {
    ...pod,
    metadata: {
      ...pod.metadata,
      labels: merged(pod.metadata?.labels, metadata.labels),
      annotations: merged(pod.metadata?.annotations, metadata.annotations),
      ownerReferences: metadata.ownerReferences,
    },
  };
}

const pool = poolObject({ labels: { team: 'pool', kept: 'yes' }, annotations: { note: 'pool' } });
const fresh = standbyPod(pool, podContext(), 'small-b7kx2');
const pod: Pod = { ...fresh, metadata: { ...fresh.metadata, resourceVersion: '17' } };
const service: NewHolder = { name: 'ocr', uid: 'u', revision: 'ocr-00003', labels: { team: 'ocr' } };

describe('a claim', () => {
  it('changes owner and labels in one write that holds only for the pod as it was seen', () => {
    expect(claimPatch(pod, service)).toEqual({
      metadata: {
        resourceVersion: '17',
        labels: {
          team: 'ocr',
          'serving.pilotlight.dev/service': 'ocr',
          'serving.pilotlight.dev/revision': 'ocr-00003',
        },
        ownerReferences: [expect.objectContaining({ kind: 'InferenceService', uid: 'u', controller: true })],
      },
    });
  });

  it('keeps the pod’s pool, and the labels that are ours from being forged', () => {
    const claimed = patched(
      pod,
      claimPatch(pod, { ...service, labels: { 'serving.pilotlight.dev/pool': 'other' } }),
    );
    expect(claimed.metadata?.labels).toMatchObject({
      'serving.pilotlight.dev/pool': 'small',
      'serving.pilotlight.dev/origin': 'standby',
      kept: 'yes',
    });
  });
});

it('a release leaves the pod as its pool had made it, whatever the service had put on it', () => {
  const keys = fc.constantFrom(
    'team',
    'kept',
    'note',
    'other',
    'serving.pilotlight.dev/service',
    'serving.pilotlight.dev/pool',
  );
  const texts = fc.dictionary(keys, fc.constantFrom('a', 'pool'));
  fc.assert(
    fc.property(texts, texts, (labels, annotations) => {
      const holder = { ...service, labels, annotations };
      const claim = claimPatch(pod, holder);
      const claimed = patched(pod, claim);
      expect(isPatched(pod, claim)).toBe(false);
      expect(isPatched(claimed, claim)).toBe(true);
      const release = releasePatch(claimed, pool, holder);
      expect(isPatched(claimed, release)).toBe(false);
      expect(patched(claimed, release)).toEqual(pod);
      expect(isPatched(pod, release)).toBe(true);
    }),
  );
});
