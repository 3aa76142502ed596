import { randomBytes } from 'node:crypto';
import type { Clock } from '../../../ports.ts';
import { EventBudget } from './event-budget.ts';
import type { KubeClient } from './kube-client.ts';
import { isKubeError } from './kube-error.ts';
import { objectPath, RESOURCES } from './paths.ts';
import { SimilarEvents } from './similar-events.ts';

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
  /** Cut at 1,024 characters, which is all that the API takes. */
  readonly message: string;
}

export interface EventRecorderOptions {
  readonly client: Pick<KubeClient, 'create' | 'patch'>;
  readonly clock: Clock;
  /** E.g. `pilotlight-controller`, and the pod's name. */
  readonly component: string;
  readonly instance: string;
  /** How long an event is kept before it is written: what it tells of is under way, and more urgent. Absent: not at all. */
  readonly pauseMs?: number;
  /** An event that was not written: too many of the object (no error), or the API refused. */
  readonly onDropped?: (subject: EventSubject, text: EventText, error: unknown) => void;
}

/**
 * Writes core/v1 Events. The same sentence about the same object raises a count instead of a new event; so do, from
 * the eleventh on, sentences of one reason that differ, and the event then shows the newest of them.
 */
export interface EventRecorder {
  /** Returns at once, never throws. */
  record(subject: EventSubject, text: EventText): void;
  /** Writes what is kept yet. Resolves when all that was recorded so far is written or dropped. */
  idle(): Promise<void>;
}

/** A sentence that has been written, for as long as it is remembered. */
interface Series {
  readonly name: string;
  count: number;
  readonly firstMs: number;
}

/** Sentences remembered; the oldest go first. */
const MAX_SERIES = 4_096;
/** Events that wait to be written while the API is slow or away; more are dropped. */
const MAX_PENDING = 1_000;
const MAX_MESSAGE_LENGTH = 1_024;
/** How kubectl's users know such an event from Kubernetes' own. */
const COMBINED = '(combined from similar events): ';

export function createEventRecorder(options: EventRecorderOptions): EventRecorder {
  const { client, clock, component, instance, pauseMs = 0, onDropped } = options;
  const series = new Map<string, Series>();
  // Apart for both types: what goes as it should must not keep a warning from being told.
  const budget = new EventBudget();
  const similar = new SimilarEvents();
  const kept: (() => Promise<void>)[] = [];
  let pending = 0;
  let tail: Promise<void> = Promise.resolve();

  /** One after the other: a count must not overtake the event that it counts. */
  function writeKept(): void {
    for (const writeOne of kept.splice(0)) tail = tail.then(writeOne);
  }

  /** Counts the sentence, and makes it the youngest of those remembered. */
  function counted(key: string, subject: EventSubject, nowMs: number): Series {
    const known = series.get(key);
    const counting = known ?? { name: eventName(subject), count: 0, firstMs: nowMs };
    counting.count += 1;
    series.delete(key);
    series.set(key, counting);
    if (series.size > MAX_SERIES) {
      for (const oldest of series.keys()) {
        series.delete(oldest);
        break;
      }
    }
    return counting;
  }

  async function write(subject: EventSubject, text: EventText, nowMs: number): Promise<void> {
    const kind = JSON.stringify([subject.uid, text.type, text.reason]);
    const isCombined = similar.isCombined(kind, text.message, nowMs);
    const key = isCombined ? kind : JSON.stringify([subject.uid, text.type, text.reason, text.message]);
    const message = `${isCombined ? COMBINED : ''}${text.message}`.slice(0, MAX_MESSAGE_LENGTH);
    const { name, count, firstMs } = counted(key, subject, nowMs);
    if (count > 1 && (await raised(subject.namespace, name, { count, message }, nowMs))) return;
    try {
      await client.create(objectPath({ ...RESOURCES.events, namespace: subject.namespace }), {
        apiVersion: 'v1',
        kind: 'Event',
        metadata: { name, namespace: subject.namespace },
        involvedObject: subject,
        type: text.type,
        reason: text.reason,
        message,
        count,
        firstTimestamp: timestamp(firstMs),
        lastTimestamp: timestamp(nowMs),
        source: { component, host: instance },
        reportingComponent: component,
        reportingInstance: instance,
      });
    } catch (error) {
      // A first time that failed must not have the next one look for it.
      if (count === 1) series.delete(key);
      throw error;
    }
  }

  /** False when the event is there no more: the API server keeps them for an hour. */
  async function raised(
    namespace: string,
    name: string,
    change: { count: number; message: string },
    nowMs: number,
  ): Promise<boolean> {
    try {
      const path = objectPath({ ...RESOURCES.events, namespace, name });
      await client.patch(path, 'merge', { ...change, lastTimestamp: timestamp(nowMs) });
      return true;
    } catch (error) {
      if (isKubeError(error, 'not-found')) return false;
      throw error;
    }
  }

  async function writeOrDrop(subject: EventSubject, text: EventText, nowMs: number): Promise<void> {
    try {
      await write(subject, text, nowMs);
    } catch (error) {
      onDropped?.(subject, text, error);
    } finally {
      pending -= 1;
    }
  }

  return {
    record(subject, text) {
      const nowMs = clock.nowMs();
      if (pending >= MAX_PENDING || !budget.take(`${text.type} ${subject.uid}`, nowMs)) {
        onDropped?.(subject, text, undefined);
        return;
      }
      pending += 1;
      kept.push(() => writeOrDrop(subject, text, nowMs));
      if (pauseMs === 0) writeKept();
      else if (kept.length === 1) clock.after(pauseMs, writeKept);
    },
    idle: () => {
      writeKept();
      return tail;
    },
  };
}

const eventName = ({ name }: EventSubject): string =>
  `${name.slice(0, 230)}.${randomBytes(8).toString('hex')}`;

/** RFC 3339 with whole seconds, as `meta/v1 Time` is written. */
const timestamp = (epochMs: number): string => `${new Date(epochMs).toISOString().slice(0, 19)}Z`;
