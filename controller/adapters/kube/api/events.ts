import type { Clock } from '../../../ports.ts';
import type { KubeClient } from './kube-client.ts';

/** What an event is about. */
export interface EventSubject {
  readonly apiVersion: string;
  readonly kind: string;
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
}

export interface EventText {
  readonly type: 'Normal' | 'Warning';
  /** One word in UpperCamelCase. */
  readonly reason: string;
  readonly message: string;
}

export interface EventRecorderOptions {
  readonly client: Pick<KubeClient, 'create' | 'patch'>;
  readonly clock: Clock;
  /** E.g. `pilotlight-controller`, and the pod's name. */
  readonly component: string;
  readonly instance: string;
  /** Events that were not written: too many of the object, or the API refused. */
  readonly onDropped?: (subject: EventSubject, text: EventText, error: unknown) => void;
}

/** Writes core/v1 Events. The same sentence about the same object raises a count instead of a new event. */
export interface EventRecorder {
  /** Returns at once, never throws. */
  record(subject: EventSubject, text: EventText): void;
  /** Resolves when all that was recorded so far is written or dropped. */
  idle(): Promise<void>;
}

export declare function createEventRecorder(options: EventRecorderOptions): EventRecorder;
