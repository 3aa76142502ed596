import { describe, expect, it } from 'vitest';
import { parseKubeConfigText } from './config.ts';

const NAMESPACE = 'pilotlight-system';

function problemsOf(yaml: string): [string, string][] {
  const result = parseKubeConfigText(yaml, NAMESPACE);
  return result.ok ? [] : result.problems.map(({ path, message }) => [path, message]);
}

describe('config.yaml', () => {
  it('needs nothing but an image; everything else has a default', () => {
    expect(parseKubeConfigText('runtimeImage: r:1', NAMESPACE)).toEqual({
      ok: true,
      settings: {
        runtimeImage: 'r:1',
        clusterDomain: 'cluster.local',
        namespaces: [],
        imagePullSecrets: [],
        defaultPool: { size: 1, resources: { requests: {}, limits: {} } },
        allowCache: { hostPath: false, persistentVolumeClaim: false },
        allowTransforms: [],
        cacheSizeLimitBytes: 10 * 2 ** 30,
        runtimeResources: { requests: { cpu: 0.1, memory: 256 * 2 ** 20 }, limits: {} },
        activatorsPerService: 2,
        quarantineMs: 30_000,
        directMode: 'never',
        tritonMetrics: false,
        controlUrl: 'https://pilotlight-controller.pilotlight-system.svc:8443',
      },
    });
  });

  it('takes all that a chart may say', () => {
    const yaml = `
domain: models.example.com
clusterDomain: corp.internal
namespaces: [a, b]
runtimeImage: r:1
imagePullPolicy: Never
imagePullSecrets: [{name: one}, two]
defaultPool: {size: 0, resources: {limits: {memory: 1Gi}}}
allowCache: {hostPath: true}
allowTransforms: [a, "*"]
cacheSizeLimit: 5Gi
runtimeResources: {limits: {cpu: 2}}
activatorsPerService: 3
quarantine: 1m30s
directMode: auto
controlUrl: https://controller.example.com:8443/
`;
    expect(parseKubeConfigText(yaml, NAMESPACE)).toMatchObject({
      ok: true,
      settings: {
        domain: 'models.example.com',
        namespaces: ['a', 'b'],
        imagePullSecrets: ['one', 'two'],
        defaultPool: { size: 0, resources: { limits: { memory: 2 ** 30 } } },
        allowCache: { hostPath: true, persistentVolumeClaim: false },
        allowTransforms: ['a', '*'],
        runtimeResources: { requests: {}, limits: { cpu: 2 } },
        quarantineMs: 90_000,
        controlUrl: 'https://controller.example.com:8443',
      },
    });
  });

  it.each<[string, string, [string, string]]>([
    ['nothing', '', ['runtimeImage', 'required: expected text']],
    [
      'a field that is spelled wrong',
      'runtimeImage: r\nquarentine: 5s',
      ['quarentine', 'unknown field; did you mean "quarantine"?'],
    ],
    [
      'a duration without a unit',
      'runtimeImage: r\nquarantine: "30"',
      ['quarantine', 'expected a duration such as "90s", "2m" or "1h30m", got "30"; write "30s" for seconds'],
    ],
    [
      'another mode',
      'runtimeImage: r\ndirectMode: always',
      ['directMode', 'expected "never" or "auto", got "always"'],
    ],
    [
      'a domain with a port',
      'runtimeImage: r\ndomain: a.b:80',
      [
        'domain',
        'expected a DNS name such as "models.example.com", without a port or a dot at its end, got "a.b:80"',
      ],
    ],
    [
      'control traffic in the clear',
      'runtimeImage: r\ncontrolUrl: http://c:1',
      ['controlUrl', 'expected "https://host:port" without a path, got "http://c:1"'],
    ],
    [
      'a request above its limit',
      'runtimeImage: r\nruntimeResources: {requests: {cpu: 2}, limits: {cpu: 1}}',
      ['runtimeResources.requests.cpu', 'expected a request of at most the limit (1), got 2'],
    ],
    [
      'no activator',
      'runtimeImage: r\nactivatorsPerService: 0',
      ['activatorsPerService', 'expected at least 1, got 0'],
    ],
  ])('with %s says what was expected', (_what, yaml, problem) => {
    expect(problemsOf(yaml)).toContainEqual(problem);
  });

  it('that isn’t YAML says so', () => {
    expect(problemsOf('a: [')).toEqual([['', expect.stringMatching(/^not valid YAML: .*line 1/)]]);
  });
});
