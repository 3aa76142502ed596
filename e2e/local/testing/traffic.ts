/** What came of the requests that clients sent in a row. */
export interface TrafficResult {
  answers: number;
  /** How often each text came, for a check of what was answered. */
  byText: ReadonlyMap<string, number>;
  /** The first hundred requests that were not answered with 200, in words. */
  failures: readonly string[];
}

export interface Traffic {
  /** Requests answered so far. */
  readonly answers: number;
  readonly failures: readonly string[];
  /** Lets what is under way come to its end. */
  stop(): Promise<TrafficResult>;
}

const MAX_FAILURES = 100;

/**
 * Clients that each send one request after the other until stopped.
 *
 * @param read what to count of an answer with status 200; a throw counts as a failure.
 */
export function startTraffic(
  clients: number,
  send: () => Promise<Response>,
  read: (text: string) => string,
): Traffic {
  const state = { stopped: false };
  let answers = 0;
  const byText = new Map<string, number>();
  const failures: string[] = [];
  const note = (failure: string): void => {
    if (failures.length < MAX_FAILURES) failures.push(failure);
  };
  const client = async (): Promise<void> => {
    while (!state.stopped) {
      try {
        const response = await send();
        const text = await response.text();
        if (response.status === 200) {
          const counted = read(text);
          byText.set(counted, (byText.get(counted) ?? 0) + 1);
          answers++;
        } else {
          note(`${response.status} ${text.slice(0, 300)}`);
        }
      } catch (error) {
        note(describe(error));
      }
    }
  };
  const running = Array.from({ length: clients }, client);
  return {
    get answers() {
      return answers;
    },
    failures,
    stop: async () => {
      state.stopped = true;
      await Promise.all(running);
      return { answers, byText, failures };
    },
  };
}

function describe(thrown: unknown): string {
  if (!(thrown instanceof Error)) return String(thrown);
  return thrown.cause instanceof Error ? `${thrown.message}: ${thrown.cause.message}` : thrown.message;
}
