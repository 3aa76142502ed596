import type { V1Node } from '@kubernetes/client-node';
import type { Clock } from '../../ports.ts';
import type { KubeClient } from './api/kube-client.ts';
import { isKubeError } from './api/kube-error.ts';
import { RESOURCES } from './api/paths.ts';
import { createReflector, type Reflector } from './api/reflector.ts';
import type { Wire } from './api/wire.ts';
import { type NodeState, nodeState } from './core/pod-state.ts';

export interface NodeSourceOptions {
  readonly client: KubeClient;
  readonly clock: Clock;
  readonly onChange: () => void;
  readonly onTrouble: (error: unknown) => void;
}

/**
 * The nodes' states, so that pods on one that is cordoned or lost are replaced before Kubernetes evicts them. An
 * operator may withhold the permission: then all nodes count as ready, and evictions are what tells.
 */
export class NodeSource {
  readonly #reflector: Reflector<Wire<V1Node>>;
  readonly #states = new Map<string, NodeState>();
  #isForbidden = false;
  #onSynced: () => void = () => undefined;

  constructor({ client, clock, onChange, onTrouble }: NodeSourceOptions) {
    const seen = (node: Wire<V1Node>, state: NodeState): void => {
      const { name = '' } = node.metadata ?? {};
      if (this.#states.get(name) === state) return;
      this.#states.set(name, state);
      onChange();
    };
    this.#reflector = createReflector<Wire<V1Node>>({
      client,
      clock,
      resource: RESOURCES.nodes,
      onChange: (node) => seen(node, nodeState(node)),
      onDelete: (node) => seen(node, 'lost'),
      onSynced: () => this.#onSynced(),
      onTrouble: (error) => {
        if (isKubeError(error, 'forbidden')) {
          this.#isForbidden = true;
          this.#onSynced();
        }
        onTrouble(error);
      },
    });
  }

  /** Resolves when the nodes are known, or are not to be known. */
  start(): Promise<void> {
    return new Promise((resolve) => {
      this.#onSynced = resolve;
      this.#reflector.start();
    });
  }

  stop(): void {
    this.#reflector.stop();
  }

  /** A node that hasn't been told of yet is new, not lost. */
  state(name: string): NodeState {
    return this.#isForbidden ? 'ready' : (this.#states.get(name) ?? 'ready');
  }
}
