import { expect, test } from 'vitest';
import { knativeObjects } from './knative-manifests.ts';

const IMAGES = new Map([['activator', 'dev.local/activator:1']]);

function deployment(image: string): Parameters<typeof knativeObjects>[0][number] {
  const resources = { requests: { cpu: '300m', memory: '60Mi' }, limits: { cpu: '1', memory: '600Mi' } };
  return {
    kind: 'Deployment',
    metadata: { name: 'activator' },
    spec: { template: { spec: { containers: [{ name: 'activator', image, resources }] } } },
  };
}

test('an image is the one that was built of its package, and has no limit of CPU', () => {
  expect(knativeObjects([deployment('ko://knative.dev/serving/cmd/activator')], IMAGES)).toMatchObject([
    {
      spec: {
        template: {
          spec: {
            containers: [
              {
                name: 'activator',
                image: 'dev.local/activator:1',
                resources: { requests: { cpu: '300m', memory: '60Mi' }, limits: { memory: '600Mi' } },
              },
            ],
          },
        },
      },
    },
  ]);
});

test('an image that was not built is an error, not a pod that never starts', () => {
  expect(() => knativeObjects([deployment('ko://knative.dev/serving/cmd/queue')], IMAGES)).toThrow(
    'expected an image of ko://knative.dev/serving/cmd/queue',
  );
});

test('settings are added to those that Knative ships, and rules of roles stay as they are', () => {
  const role = {
    kind: 'ClusterRole',
    metadata: { name: 'admin' },
    rules: [{ apiGroups: [''], resources: ['pods'], verbs: ['get'] }],
  };
  const config = {
    kind: 'ConfigMap',
    metadata: { name: 'config-autoscaler' },
    data: { _example: 'text', 'stable-window': '60s' },
  };
  const [map, same] = knativeObjects([config, role], IMAGES);
  expect(map?.data).toEqual({
    _example: 'text',
    'stable-window': '6s',
    'scale-to-zero-grace-period': '1s',
    'allow-zero-initial-scale': 'true',
  });
  expect(same).toEqual(role);
});
