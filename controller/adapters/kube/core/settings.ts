import type { Resources } from '../../../../crds/pod-fields.ts';

/** What an operator decides for a cluster: the controller's config.yaml in its parsed form. */
export interface KubeSettings {
  /** Services are reached under `name.namespace.<domain>` too. */
  readonly domain?: string;
  /** As the cluster's DNS has it, `cluster.local` mostly. */
  readonly clusterDomain: string;
  /** Namespaces to look after; empty: all. */
  readonly namespaces: readonly string[];
  readonly runtimeImage: string;
  readonly imagePullPolicy?: 'Always' | 'IfNotPresent' | 'Never';
  /** Names of Secrets, which each namespace must have itself. */
  readonly imagePullSecrets: readonly string[];
  /** The pool of a namespace that has services and no StandbyPool. Size 0: none. */
  readonly defaultPool: { readonly size: number; readonly resources: Resources };
  /** Volumes beside emptyDir that a StandbyPool may have its cache on. */
  readonly allowCache: { readonly hostPath: boolean; readonly persistentVolumeClaim: boolean };
  /** Namespaces whose services may run code of their own in the runtime; `*`: all. */
  readonly allowTransforms: readonly string[];
  readonly cacheSizeLimitBytes: number;
  /** Of pods whose manifest gives no resources of their own. */
  readonly runtimeResources: Resources;
  readonly activatorsPerService: number;
  readonly quarantineMs: number;
  readonly directMode: 'never' | 'auto';
  /** Runtimes tell metrics by Triton's names as well. */
  readonly tritonMetrics: boolean;
  /** Where runtimes reach the controller: `https://host:port`. */
  readonly controlUrl: string;
}

/** What goes into each pod of the runtime so that it knows whom to believe. Nothing of it is secret. */
export interface RuntimeTrust {
  /** Ed25519 public key, SPKI DER in base64. */
  readonly adminPublicKey: string;
  /** Certificates in PEM by which the runtime knows the controller. */
  readonly controlCa: string;
}

export interface PodContext {
  readonly settings: KubeSettings;
  readonly trust: RuntimeTrust;
}
