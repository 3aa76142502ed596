import type { ErrorCode } from '../../contracts/errors.ts';
import type { JsonKind, JsonResults, JsonTasks } from '../core/json-work.ts';

/** What the main thread and a thread for large JSON say to each other. */

/** One thing at a time: its answer is the next message. */
export type ToJsonThread = { [Kind in JsonKind]: { kind: Kind; task: JsonTasks[Kind] } }[JsonKind];

export type FromJsonThread =
  | { kind: 'done'; result: JsonResults[JsonKind] }
  /** A PilotlightError of the codecs. */
  | {
      kind: 'refused';
      code: ErrorCode;
      message: string;
      status: number;
      retryAfterSeconds: number | undefined;
    }
  /** Anything else that was thrown, such as for want of memory. */
  | { kind: 'failed'; message: string };
