import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { resolvedService } from '../../../core/testing/resolved-service.ts';
import type { StoredRevision } from '../../../ports.ts';
import { revisionObject, revisionOnRecord } from './revision-object.ts';

type Fields = Record<string, unknown>;

function revision(
  predictor: Fields = {},
  rest: Partial<StoredRevision> = {},
  annotations: Record<string, string> = {},
): StoredRevision {
  const resolved = resolvedService('ocr', {
    namespace: 'team',
    uid: 'service-uid',
    generation: 7,
    predictor,
    annotations,
  });
  return {
    number: 3,
    name: 'ocr-00003',
    specHash: 'abc',
    resolved: {
      ...resolved,
      env: { TOKEN: 'hunter2' },
      access: { s3: { accessKeyId: 'AKIA', secretAccessKey: 'hunter3' } },
    },
    everReady: false,
    createdAtMs: 1_700_000_000_000.25,
    ...rest,
  };
}

describe('a revision on record', () => {
  it('is a ControllerRevision that its service owns', () => {
    expect(revisionObject(revision())).toMatchObject({
      apiVersion: 'apps/v1',
      kind: 'ControllerRevision',
      metadata: {
        namespace: 'team',
        name: 'ocr-00003',
        labels: { 'serving.pilotlight.dev/service': 'ocr', 'serving.pilotlight.dev/revision': 'ocr-00003' },
        ownerReferences: [{ kind: 'InferenceService', name: 'ocr', uid: 'service-uid' }],
      },
      revision: 3,
    });
  });

  it('holds nothing that came from a Secret', () => {
    expect(JSON.stringify(revisionObject(revision()))).not.toMatch(/hunter|AKIA/);
  });

  it('is read back as it was written', () => {
    const optional = fc.record(
      {
        rolledOutAtMs: fc.integer({ min: 1, max: 2 ** 45 }),
        failure: fc.record({ code: fc.string(), message: fc.string(), atMs: fc.nat() }),
        identity: fc.record({
          files: fc.array(fc.record({ path: fc.string(), sizeBytes: fc.nat() }), { maxLength: 3 }),
        }),
      },
      { requiredKeys: [] },
    );
    const predictor = fc.record(
      {
        minReplicas: fc.nat(3),
        timeout: fc.constantFrom(5, '90s'),
        labels: fc.constant({ a: 'b' }),
        canaryTrafficPercent: fc.nat(100),
        containerConcurrency: fc.nat(9),
        nodeSelector: fc.constant({ a: 'b' }),
        containers: fc.constant([{ image: 'a', command: ['b'] }]),
      },
      { requiredKeys: [] },
    );
    fc.assert(
      fc.property(predictor, optional, fc.boolean(), (fields, rest, everReady) => {
        const stored = revision(fields, { ...rest, everReady });
        const { resolved, ...kept } = stored;
        // Through JSON, as it goes to the API server and back.
        const record = revisionOnRecord(JSON.parse(JSON.stringify(revisionObject(stored))));
        expect(record).toEqual({ ...kept, uid: 'service-uid', generation: 7, service: resolved.service });
      }),
    );
  });

  it('keeps its data when settings change that make no revision, since the API server lets nobody change it', () => {
    const before = revision({ minReplicas: 1, timeout: 5, canaryTrafficPercent: 10 });
    const after = revision(
      { maxReplicas: 4, labels: { a: 'b' } },
      {},
      { 'serving.kserve.io/storageSecretName': 's' },
    );
    const object = revisionObject(after);
    expect(object.data).toEqual(revisionObject(before).data);
    // And the settings are those of today: what was taken back doesn't come up again.
    expect(revisionOnRecord(object)?.service).toEqual(after.resolved.service);
  });

  it('keeps the data that is there, in the words of the version that wrote it', () => {
    const data = { ...(revisionObject(revision()).data as object), more: 1 };
    expect(revisionObject(revision({ minReplicas: 2 }), data).data).toBe(data);
  });

  it('leaves out an identity that is larger than annotations may be, to be asked for again', () => {
    const files = Array.from({ length: 4_000 }, (_, number) => ({
      path: `part-${number}`,
      sizeBytes: number,
    }));
    const object = revisionObject(revision({}, { identity: { files } }));
    expect(JSON.stringify(object.metadata?.annotations).length).toBeLessThan(128 * 1024);
    expect(revisionOnRecord(object)).not.toHaveProperty('identity');
  });

  it.each<[string, object]>([
    ['without an owner', { metadata: { ownerReferences: [] } }],
    ['of another controller', { metadata: { annotations: {} } }],
    ['whose data is not a service', { data: { spec: 1 } }],
  ])('is not an object %s', (_what, change: { metadata?: object }) => {
    const object = revisionObject(revision());
    expect(
      revisionOnRecord({ ...object, ...change, metadata: { ...object.metadata, ...change.metadata } }),
    ).toBeUndefined();
  });

  it('bears annotations that somebody has broken', () => {
    const object = revisionObject(revision({}, { failure: { code: 'a', message: 'b', atMs: 1 } }));
    const annotations = {
      ...object.metadata?.annotations,
      'serving.pilotlight.dev/failure': '{',
      'serving.pilotlight.dev/model-identity': '7',
      'serving.pilotlight.dev/rolled-out-at-ms': 'yesterday',
    };
    const record = revisionOnRecord({ ...object, metadata: { ...object.metadata, annotations } });
    expect(record).toBeDefined();
    for (const field of ['failure', 'identity', 'rolledOutAtMs']) expect(record).not.toHaveProperty(field);
  });
});
