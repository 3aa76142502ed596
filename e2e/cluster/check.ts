import { ensureBaseImage } from './base-image.ts';
import { type Cluster, connectCluster } from './cluster.ts';
import { ClusterError } from './errors.ts';
import { program, step } from './steps.ts';
import { until } from './wait.ts';

/**
 * Shows that a cluster of `make cluster` is one that cases can rest on: an image is loaded and runs, pods on both
 * nodes reach each other directly, by Service and by name, and exec, logs and the API server's metrics work.
 */
const NAMESPACE = 'cluster-check';
const PORT = 8080;
const TIMEOUT_MS = 60_000;
/** Answers every connection with the pod's name; Debian's smallest image has no HTTP server, but Perl. */
const SERVER = `use IO::Socket; $| = 1; print "serving\\n";
my $s = IO::Socket::INET->new(LocalPort => ${PORT}, Listen => 9, ReuseAddr => 1) or die;
while (my $c = $s->accept) { print $c "$ENV{POD_NAME}\\n"; close $c }`;

async function check(cluster: Cluster): Promise<void> {
  const { kubectl } = cluster;
  const inNamespace = (...kubectlArguments: string[]) =>
    kubectl(['--namespace', NAMESPACE, ...kubectlArguments]);
  const image = await step('Image on every node', async () => cluster.loadImage(await ensureBaseImage()));
  await kubectl(['delete', 'namespace', NAMESPACE, '--ignore-not-found']);
  await kubectl(['create', 'namespace', NAMESPACE]);
  try {
    await step('Pods on every node ready', async () => {
      await until('the namespace has its account', TIMEOUT_MS, () =>
        inNamespace('get', 'serviceaccount', 'default', '--ignore-not-found', '--output', 'name').then(
          Boolean,
        ),
      );
      await kubectl(['apply', '--filename', '-'], JSON.stringify(objects(cluster.nodes, image)));
      await inNamespace('wait', '--for=condition=Ready', 'pod', '--all', `--timeout=${TIMEOUT_MS / 1000}s`);
    });
    const addresses = await inNamespace('get', 'pods', '--output', 'jsonpath={.items[*].status.podIP}');
    const ask = (pod: string, host: string) =>
      inNamespace('exec', pod, '--', 'bash', '-c', `exec 3<>/dev/tcp/${host}/${PORT} && timeout 5 cat <&3`);
    const service = await inNamespace('get', 'service', 'all', '--output', 'jsonpath={.spec.clusterIP}');
    await step('Every pod reaches every pod, the Service, and its name', async () => {
      for (const pod of cluster.nodes.map((_node, index) => `pod-${index}`)) {
        for (const host of [...addresses.split(' '), service, 'all', `all.${NAMESPACE}.svc.cluster.local`]) {
          await until(`${pod} reaches ${host}`, TIMEOUT_MS, () =>
            ask(pod, host).then(
              (answer) => answer.startsWith('pod-'),
              () => false,
            ),
          );
        }
      }
    });
    await step('Logs and metrics are to be had', async () => {
      const logs = await inNamespace('logs', 'pod-0');
      const metrics = await kubectl(['get', '--raw', '/metrics']);
      if (!logs.includes('serving') || !metrics.includes('apiserver_request_total')) {
        throw new ClusterError(
          'E2E_STEP_FAILED',
          `logs of pod-0: "${logs}"; metrics: ${metrics.length} characters`,
        );
      }
    });
  } finally {
    await kubectl(['delete', 'namespace', NAMESPACE, '--ignore-not-found']);
  }
}

/** One pod on each node, and a Service over all of them. */
function objects(nodes: readonly string[], image: string): object {
  const metadata = { namespace: NAMESPACE, labels: { app: 'check' } };
  const pods = nodes.map((nodeName, index) => ({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { ...metadata, name: `pod-${index}` },
    spec: {
      nodeName,
      terminationGracePeriodSeconds: 0,
      containers: [
        {
          name: 'server',
          image,
          imagePullPolicy: 'IfNotPresent',
          command: ['perl', '-e', SERVER],
          env: [{ name: 'POD_NAME', value: `pod-${index}` }],
          readinessProbe: { tcpSocket: { port: PORT }, periodSeconds: 1 },
        },
      ],
    },
  }));
  const spec = { selector: { app: 'check' }, ports: [{ port: PORT }] };
  const service = { apiVersion: 'v1', kind: 'Service', metadata: { ...metadata, name: 'all' }, spec };
  return { apiVersion: 'v1', kind: 'List', items: [...pods, service] };
}

if (import.meta.main) {
  await program(async () => {
    await check(await connectCluster());
    return undefined;
  });
}
