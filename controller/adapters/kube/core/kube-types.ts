import type {
  V1ControllerRevision,
  V1EndpointSlice,
  V1Pod,
  V1PodDisruptionBudget,
  V1Service,
} from '@kubernetes/client-node';
import type { Wire } from '../api/wire.ts';

/** Objects of Kubernetes as they stand in JSON. */
export type Pod = Wire<V1Pod>;
export type Service = Wire<V1Service>;
export type EndpointSlice = Wire<V1EndpointSlice>;
export type ControllerRevision = Wire<V1ControllerRevision>;
export type PodDisruptionBudget = Wire<V1PodDisruptionBudget>;
